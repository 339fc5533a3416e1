"""The process in which a chat template runs (`yanmo/text/chat.py` starts it): a task as JSON on standard input, its texts on standard
output. Imports jinja2 and nothing of Yanmo.
"""

import datetime
import json
import resource
import signal
import sys
from typing import Any, NoReturn

import jinja2
import jinja2.debug  # at once, as all: once confined, nothing can be loaded
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST = 1_000_000  # bytes of a text
MEMORY = 512 << 20  # bytes, with the interpreter's own
SECONDS = 1.0


class Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what the assistant said; here it is text as any other."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's way)

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return body


def environment() -> ImmutableSandboxedEnvironment:
    """As the templates of Hugging Face expect it."""

    def refuse(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def as_json(value: Any, **options: Any) -> str:
        """Plain JSON, not escaped for web pages."""
        return json.dumps(value, **{"ensure_ascii": False, **options})

    def now(form: str) -> str:
        return datetime.datetime.now().strftime(form)  # a person's own time

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = as_json
    made.globals |= {"raise_exception": refuse, "strftime_now": now}
    return made


def confine() -> None:
    """What this process may still do: compute, within bounds."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def render(task: dict[str, Any]) -> list[str]:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process
    template = environment().from_string(task["template"])
    texts = []
    for messages in task["conversations"]:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        parts, size = [], 0
        for part in template.generate(**task["variables"], messages=messages):
            parts.append(part)
            size += len(part.encode("utf-8", "surrogatepass"))
            if size > LONGEST:
                raise ValueError(f"it writes over {LONGEST:,} bytes")
        texts.append("".join(parts))
    signal.setitimer(signal.ITIMER_PROF, 0)
    return texts


def main() -> None:
    task = json.load(sys.stdin.buffer)
    environment().from_string(r"{{ '\n' }}").render()  # loads what is loaded late
    confine()
    try:
        answer: dict[str, Any] = {"texts": render(task)}
    except Exception as error:  # whatever a template raises
        answer = {"fault": f"{error or type(error).__name__}"[:2000]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
