"""Chat templates: equal to transformers' rendering, and M6: no template gets out of its process or takes more than it may have."""

import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import transformers

from yanmo.errors import ModelError
from yanmo.models.gguf import File
from yanmo.text import chat, tokenizer
from yanmo.text.chat import Chat
from yanmo.text.tokenizer import TokenizerSettings

TURNS = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set system = '' %}
    {%- set rest = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in rest %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must take turns') }}
    {%- endif %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' + (system + '\\n\\n' if loop.last and system else '') + message.content + ' [/INST]' }}
    {%- else %}
        {%- generation %}
        {{- ' ' + message.content | trim + eos_token }}
        {%- endgeneration %}
    {%- endif %}
{%- endfor %}
"""
TOOLS = """\
{% macro head(role) %}<|{{ role }}|>
{% endmacro %}
{% set state = namespace(users=0) %}
{% for message in messages %}
  {% if message.role == 'skip' %}{% continue %}{% endif %}
  {% if message.role == 'user' %}{% set state.users = state.users + 1 %}{% endif %}
    {{ head(message.role) -}}
    {{ message.content if message.content is string else message.content | tojson }}<|end|>
{% endfor %}
{% if tools is not none and tools %}{{ tools | tojson(indent=2) }}{% endif %}
{% if documents is defined and not documents %}{{ state.users }} of
{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{% endif %}
{% if strftime_now is defined %}{{ strftime_now('%%') }}{% endif %}
{% if add_generation_prompt %}{{ head('assistant') }}{% endif %}
"""
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "你好，<b>世界</b> & 'all'"}],
    [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi"}],
    [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": " Two "},
        {"role": "user", "content": "Three\n\n"},
    ],
    [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c 😀"},
        {"role": "assistant", "content": "d"},
    ],
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.fixture(scope="module")
def stock() -> transformers.PreTrainedTokenizerFast:
    cutter = tokenizer.train(["a b"], TokenizerSettings(vocab=100))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=cutter.inner, **TOKENS)


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("name", ["smollm2", "turns", "tools"])
def test_equal_to_transformers(stock: Any, smollm2: Path, name: str, prompt: bool) -> None:
    held = File(smollm2).chat()
    assert held is not None
    template = {"smollm2": held.template, "turns": TURNS, "tools": TOOLS}[name]
    rendered = Chat(template, TOKENS).render(CONVERSATIONS, prompt=prompt)
    assert rendered == [
        stock.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=prompt)
        for messages in CONVERSATIONS
    ]


def test_content_that_is_no_text(stock: Any) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "<é>"}]}]
    assert Chat(TOOLS, TOKENS).render([messages]) == [
        stock.apply_chat_template(messages, chat_template=TOOLS, tokenize=False, add_generation_prompt=True)
    ]


def test_what_a_template_refuses() -> None:
    with pytest.raises(ModelError, match="roles must take turns"):
        Chat(TURNS, TOKENS).render([[{"role": "assistant", "content": "a"}]])
    with pytest.raises(ModelError, match="unexpected 'end of template'"):
        Chat("{% if").render([[]])


def test_a_folder_says_it_in_several_ways(tmp_path: Path) -> None:
    assert chat.read(tmp_path) is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null}')
    assert chat.read(tmp_path) is None
    config.write_text('{"chat_template": "a", "bos_token": {"content": "<s>"}}')
    assert chat.read(tmp_path) == Chat("a", {"bos_token": "<s>"})
    config.write_text(
        json.dumps({"chat_template": [{"name": "rag", "template": "b"}, {"name": "default", "template": "c"}]})
    )
    assert chat.read(tmp_path) == Chat("c")
    (tmp_path / "chat_template.jinja").write_text("d")
    assert chat.read(tmp_path) == Chat("d")
    config.write_text("[]")
    with pytest.raises(ModelError, match="expected a JSON object"):
        chat.read(tmp_path)


# ---- M6

CLASSES = "''.__class__.__mro__[1].__subclasses__()"
PAYLOADS = [
    "{{ " + CLASSES + " }}",
    "{{ ''['__class__']['__mro__'][1]['__subclasses__']() }}",
    "{{ ''|attr('__class__')|attr('__mro__')|last|attr('__subclasses__')() }}",
    "{{ ()|attr('\\x5f\\x5fclass\\x5f\\x5f')|attr('\\x5f\\x5fbase\\x5f\\x5f') }}",
    "{{ ''['__cla' ~ 'ss__'] }}",
    "{% for c in " + CLASSES + " %}{{ c }}{% endfor %}",
    "{{ cycler.__init__.__globals__.os.popen('COMMAND').read() }}",
    "{{ joiner.__init__.__globals__.os.popen('COMMAND').read() }}",
    "{{ namespace.__init__.__globals__.os.popen('COMMAND').read() }}",
    "{{ lipsum.__globals__['os'].popen('COMMAND').read() }}",
    "{{ lipsum.__globals__.__builtins__.open('FILE').read() }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os').popen('COMMAND').read() }}",
    "{{ self._TemplateReference__context.cycler.__init__.__globals__.os.system('COMMAND') }}",
    "{{ raise_exception.__globals__.__builtins__.open('FILE').read() }}",
    "{{ raise_exception.__globals__['sys'].modules['os'].system('COMMAND') }}",
    "{{ strftime_now.__closure__ }}{{ strftime_now.__globals__ }}",
    "{{ raise_exception.__code__.co_consts }}",
    "{{ range.__class__.__base__.__subclasses__() }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ messages.__class__.__base__.__subclasses__() }}",
    "{{ messages.append({'role': 'x'}) }}{{ messages }}",
    "{{ messages[0].update({'role': 'x'}) }}{{ messages }}",
    "{{ messages[0].__setitem__('role', 'x') }}{{ messages }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{m.__class__.__init__.__globals__}'.format(m=cycler) }}",
    "{{ '{0.__class__}'.format_map({'0': ''}) }}",
    "{% set f = '{0.__class__.__base__}'.format %}{{ f('') }}",
    "{{ ['{0.__class__}'] | map('format', '') | list }}{{ ('%s{0.__class__}' | format('')).format('') }}",
    "{{ [''] | map(attribute='__class__') | list }}",
    "{{ [''] | groupby('__class__') }}",
    "{{ [''] | sort(attribute='__class__.__mro__') | map(attribute='__class__.__mro__') | list }}",
    "{% include 'FILE' %}",
    "{% import 'FILE' as f %}{{ f }}",
    "{% extends 'FILE' %}",
    "{{ config }}{{ environ }}{{ os }}{{ open('FILE').read() }}",
    "{{ get_flashed_messages.__globals__ }}{{ url_for.__globals__ }}{{ request.application.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__.__globals__ }}{{ m._environment }}{{ m._func.__globals__ }}",
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{{ loop }}{% for i in [1] %}{{ loop.__class__.__init__.__globals__ }}{{ loop._iterator.gi_frame }}{% endfor %}",
    "{% set g = (i for i in [1]) %}{{ g.gi_frame.f_back.f_globals }}",
    "{{ (messages | map('upper')).gi_frame.f_back.f_globals }}",
    "{{ ''.encode.__self__.__class__ }}{{ ''.join.__func__ }}",
    "{% generation %}{{ cycler.__init__.__globals__.os.popen('COMMAND').read() }}{% endgeneration %}",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_m6_no_payload_gets_out(payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("canary-of-the-file")
    monkeypatch.setenv("SECRET", "canary-of-the-environment")
    template = payload.replace("COMMAND", f"echo canary $SECRET > {tmp_path}/made; echo canary").replace(
        "FILE", str(tmp_path / "secret")
    )
    messages = [{"role": "user", "content": "hi"}]
    try:
        found = Chat(template).render([messages])[0]
    except ModelError:
        found = ""
    assert not any(sign in found for sign in ("canary", "<class", "__builtins__", "module '", "frame", "'x'"))
    assert not (tmp_path / "made").exists()
    assert messages == [{"role": "user", "content": "hi"}]


GREEDY = {
    "text": "{{ 'a' * 10**9 }}",
    "text-of-text": "{{ ('a' * 10**6) * 10**4 }}",
    "list": "{{ [0] * 10**10 }}",
    "joined": "{% set n = namespace(s='a') %}{% for i in range(64) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "added": "{% set n = namespace(s='a') %}{% for i in range(64) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "padded": "{{ 'a' | center(10**10) }}",
    "formatted": "{{ '%10000000000d' % 1 }}",
    "formatted-anew": "{{ '{:>10000000000}'.format(1) }}",
    "replaced": "{{ ('a' * 10**5).replace('a', 'b' * 10**5) }}",
    "indented": "{{ ('a\\n' * 10**5) | indent(10**6) }}",
    "adjusted": "{{ 'a'.ljust(10**10) }}",
    "power": "{{ (10**(10**8)) % 7 }}",
    "shifted": "{{ 7**(7**(7**7)) }}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "written": "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
    "written-in-chinese": "{% for i in range(99999) %}{{ '研' * 1000 }}{% endfor %}",
    "macro": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "sorted": "{% for i in range(9999) %}{{ range(99999) | sort | first }}{% endfor %}",
    "lorem": "{{ lipsum(n=10**9) }}",
    "nested": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "compiled": "{{ " + "1 + " * 50_000 + "1 }}",
    "range": "{{ range(10**9) | list | length }}",
    "as-json": "{{ [1] | tojson(indent=10**9) }}",
}


@pytest.mark.parametrize("case", GREEDY)
def test_m6_no_template_takes_more_than_it_may_have(case: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(ModelError, match="the chat template"):
        Chat(GREEDY[case]).render([[]])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0  # 1 s, and its beginning
    assert after.ru_maxrss < 600_000 or after.ru_maxrss == before.ru_maxrss  # KiB, of the largest child so far


def test_m6_a_megabyte_is_not_too_much() -> None:
    assert len(Chat("{{ 'a' * 1000000 }}").render([[]])[0]) == 1_000_000
    with pytest.raises(ModelError, match="over 1,000,000 bytes"):
        Chat("{{ 'a' * 1000001 }}").render([[]])


def test_m6_the_second_is_for_each_conversation() -> None:
    """And many are rendered by one process."""
    begin = time.perf_counter()
    texts: Sequence[str] = Chat("{% for i in range(20000) %}{% endfor %}{{ messages[0].content }}").render(
        [[{"role": "user", "content": str(number)}] for number in range(1000)]
    )
    assert texts == [str(number) for number in range(1000)]
    assert time.perf_counter() - begin < 60
