import pytest
from torch import nn

from yanmo.errors import ModelError
from yanmo.nn.surgery import swap


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(4, 4)
        self.value = nn.Linear(4, 4)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.head = nn.Linear(4, 2)


def identity(name: str, module: nn.Module) -> nn.Module:
    return nn.Identity()


def test_a_pattern_is_searched_in_the_dotted_names() -> None:
    model = Model()
    assert swap(model, "query", identity) == ["layers.0.query", "layers.1.query"]
    assert all(isinstance(layer.query, nn.Identity) for layer in model.layers)
    assert isinstance(model.layers[0].value, nn.Linear)
    assert swap(model, "^head$", identity) == ["head"]


def test_a_function_chooses_by_type_and_make_sees_name_and_module() -> None:
    model, seen = Model(), {}

    def make(name: str, module: nn.Module) -> nn.Module:
        seen[name] = module
        return nn.Identity()

    names = swap(model, lambda name, module: isinstance(module, nn.Linear), make)
    assert names == list(seen) and len(names) == 5
    assert all(isinstance(module, nn.Linear) for module in seen.values())


def test_the_inside_of_a_replaced_part_is_left_to_its_maker() -> None:
    model = Model()
    inside = model.layers[0]
    assert swap(model, "layers", identity) == ["layers"]
    assert isinstance(inside.query, nn.Linear)


def test_names_that_only_begin_alike_are_not_inside() -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 1), "ab": nn.Linear(1, 1)})
    assert swap(model, "a", identity) == ["a", "ab"]


def test_a_module_under_two_names_stays_one() -> None:
    shared = nn.Linear(2, 2)
    model = nn.ModuleDict({"first": shared, "second": shared})
    assert swap(model, "first|second", lambda name, module: nn.Linear(2, 2)) == ["first", "second"]
    assert model["first"] is model["second"] is not shared


def test_nothing_found_lists_the_names() -> None:
    with pytest.raises(ModelError, match=r"'c_attn'.*layers\.N\.query, layers\.N\.value, head"):
        swap(Model(), "c_attn", identity)
    with pytest.raises(ModelError, match="not a regular expression"):
        swap(Model(), "(", identity)
