"""Lexical and dense search over documents. Takes vectors and scores from any callable, never a model."""

from yanmo.index.documents import Columns, Document
from yanmo.index.folder import Change, change, is_index, load, set_threshold
from yanmo.index.index import Hit, Index

__all__ = ["Change", "Columns", "Document", "Hit", "Index", "change", "is_index", "load", "set_threshold"]
