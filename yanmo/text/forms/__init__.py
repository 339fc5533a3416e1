"""The forms that rows of data have, by name: what their columns are, and how the fields of a row become texts, labels and marks.

A task says which one it reads (`Task.form`). A new one is a file here and a line in FORMS.
"""

from dataclasses import replace

from yanmo.text.formats.names import USUAL
from yanmo.text.forms import answered, labelled, paired, related, tagged
from yanmo.text.forms.base import NOWHERE, Form, Mark, Parsed, Picked, Slip, Unfit

__all__ = ["FORMS", "NOWHERE", "Form", "Mark", "Parsed", "Picked", "Slip", "Unfit"]

FORMS: dict[str, Form] = {
    "labelled": labelled.FORM,
    "rated": replace(labelled.FORM, columns={**labelled.FORM.columns, "label": (*USUAL["score"], *USUAL["label"])}),
    "tagged": tagged.FORM,
    "related": related.FORM,
    "answered": answered.FORM,
    "paired": paired.FORM,
    "ranked": paired.RANKED,
}
