import sys
import textwrap
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import ClassVar

import numpy as np
import pytest

from feederlab.controllers import registry
from feederlab.controllers.base import Controller, ControlTask, Information, Prepared
from feederlab.controllers.none import NoControl
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError, UnknownNameError
from feederlab.simulate import simulate
from feederlab.testing import check_controller, example_scenario

PACKAGE = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feederlab.controllers.base import LOCAL, Controller, Information, Prepared, Setpoints


@dataclass(frozen=True)
class ConstantShare(Controller):
    """q = share * S."""

    sees: ClassVar[Information] = LOCAL
    share: float = 0.1

    def prepare(self, task, *, seed=None):
        return Ready(self.share * task.inverters.s_mva)


class Ready(Prepared):
    def __init__(self, q):
        self._q = q

    def step(self, state, measurement):
        return Setpoints(q_mvar=self._q), state
'''


@dataclass(frozen=True)
class Wrapper(Controller):
    """Hands everything on to `inner`; sees what `inner` and a second one see."""

    inner: Controller
    second: Controller = field(default_factory=lambda: VoltVar(curve="rule21"))
    note: str = ""

    @property
    def sees(self) -> Information:
        return self.inner.sees.union(self.second.sees)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return self.inner.prepare(task, seed=seed)


@dataclass(frozen=True)
class OneOfTwo(Controller):
    sees: ClassVar[Information] = VoltVar.sees
    flag: bool = False
    count: int = 1

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        return NoControl().prepare(task)


HERE = f"{__name__}"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package of somebody else's, as pip would leave it."""
    (tmp_path / "outside_controllers.py").write_text(textwrap.dedent(PACKAGE))
    info = tmp_path / "outside_controllers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-controllers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[feederlab.controllers]\nconstant_share = outside_controllers:ConstantShare\n"
        "broken = outside_controllers:Missing\nnone = outside_controllers:ConstantShare\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("outside_controllers", None)


def test_a_controller_from_outside_registers_itself_and_runs(installed):
    assert [p.name for p in entry_points(group=registry.GROUP)].count("constant_share") == 1
    assert registry.names()["constant_share"] == "from outside_controllers:ConstantShare"
    controller = registry.create("constant_share:share=0.2")
    scenario = example_scenario()
    check_controller(controller, scenario)
    run = simulate(scenario.window("2016-06-21 06:00", 2), controller)
    np.testing.assert_allclose(run.data.q_mvar, 0.2 * np.tile(scenario.feeder.inverters.s_mva, (2, 1)))
    assert run.provenance["controller"] == "outside_controllers:ConstantShare"
    assert run.provenance["settings"] == {"share": 0.2}


def test_the_same_class_without_registration(installed):
    same = registry.create("outside_controllers:ConstantShare:share=0.2")
    assert same == registry.create("constant_share:share=0.2")


def test_outsiders_do_not_replace_the_built_in(installed):
    assert registry.load("none") is NoControl


def test_a_broken_entry_point_says_so(installed):
    with pytest.raises(InputError, match="cannot import the controller 'broken'"):
        registry.create("broken")


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_every_built_in_has_defaults_and_a_line(name):
    assert registry.names()[name]
    controller = registry.create(name)
    assert type(controller) is registry.load(name)
    assert registry.settings_of(controller) == registry.defaults_of(type(controller))
    assert isinstance(controller.sees, Information)
    assert (type(controller).__doc__ or "").strip()


def test_values_are_read_as_the_type_of_their_key():
    made = registry.create(" volt_var : curve=ieee1547_b, damping = 0.2 ,max_rounds=7 ".replace(" : ", ":"))
    assert made == VoltVar(curve="ieee1547_b", damping=0.2, max_rounds=7)
    assert registry.create(f"{HERE}:OneOfTwo:flag=true,count=3") == OneOfTwo(True, 3)


def test_points_survive_the_key_value_list():
    points = "0.92:0.44/0.98:0/1.02:0/1.08:-0.44"
    assert registry.create(f"volt_var:curve={points},damping=0.2") == VoltVar(curve=points, damping=0.2)
    assert registry.create(f"feederlab.controllers.volt_var:VoltVar:curve={points}") == VoltVar(curve=points)


def test_nested_controllers_have_dotted_keys():
    made = registry.create(f"{HERE}:Wrapper:inner=volt_var,inner.curve=ieee1547_b,second.damping=0.3,note=a")
    assert made == Wrapper(VoltVar(curve="ieee1547_b"), VoltVar(curve="rule21", damping=0.3), "a")
    assert str(made.sees) == "local"
    assert str(Wrapper(VoltVar(), registry.create("feedback")).sees) == "global"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("volt_vra", UnknownNameError, "unknown controller 'volt_vra': did you mean 'volt_var'"),
        ("volt_vra:curve=mapdn", UnknownNameError, "unknown controller 'volt_vra': did you mean 'volt_var'"),
        ("volt_var:crve=mapdn", UnknownNameError, "unknown volt_var key 'crve': did you mean 'curve'"),
        ("volt_var:sees=all", UnknownNameError, "unknown volt_var key 'sees'"),
        ("volt_var:curve=mapdm", UnknownNameError, "unknown curve 'mapdm': did you mean 'mapdn'"),
        ("volt_var:damping=abc", InputError, "damping must be a number, not 'abc'"),
        ("volt_var:max_rounds=1.5", InputError, "max_rounds must be a whole number, not '1.5'"),
        (f"{HERE}:OneOfTwo:flag=maybe", InputError, "flag must be true or false, not 'maybe'"),
        ("volt_var:damping", InputError, "write settings as key=value, not 'damping'"),
        ("volt_var:damping=0.1,damping=0.2", InputError, "damping is given twice"),
        ("volt_var:curve.x=1", InputError, "'curve' is no controller, so curve.x means nothing"),
        (f"{HERE}:Wrapper", InputError, "needs inner"),
        (f"{HERE}:Wrapper:inner.curve=rule21", InputError, "name a controller"),
        (f"{HERE}:Wrapper:inner=volt_vra", UnknownNameError, "did you mean 'volt_var'"),
        (f"{HERE}:Wrapper:inner=volt_var,inner.crve=x", UnknownNameError, "unknown volt_var key 'crve'"),
        ("no_such_module:Class", InputError, "cannot import the controller 'no_such_module:Class'"),
        ("feederlab.errors:Nothing", InputError, "cannot import the controller 'feederlab.errors:Nothing'"),
        ("feederlab.errors:InputError", InputError, "is no feederlab controller"),
        ("", UnknownNameError, "unknown controller ''"),
    ],
)
def test_mistakes_are_explained(spec, error, message):
    with pytest.raises(error) as caught:
        registry.create(spec)
    assert message in str(caught.value)


def test_listing_imports_no_controller_and_nothing_heavy():
    import subprocess

    code = (
        "import sys; from feederlab.controllers import registry; registry.names(); "
        "print([m for m in ('cvxpy', 'pandapower', 'pyomo', 'feederlab.controllers.volt_var') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
