"""The symmetric volt-var curve in four numbers: dead band, saturation (or slope), largest q, centre.

The curve falls from +q_max (p.u. of S) at v_ref - v_sat to 0 at v_ref - v_dead, and from 0 at v_ref + v_dead to -q_max
at v_ref + v_sat; it is flat outside.  v_dead and v_sat are distances from the centre v_ref (p.u.).  In place of v_sat,
slope = q_max / (v_sat - v_dead) may be given, in p.u. of S per p.u. of voltage.

IEEE 1547-2018's category B is v_dead = 0.02, v_sat = 0.08, q_max = 0.44, v_ref = 1; category A 0, 0.10, 0.25, 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from feederlab.errors import InputError

DEFAULTS = {"v_dead": 0.02, "v_sat": 0.08, "q_max": 0.44, "v_ref": 1.0}
"""What is not given: IEEE 1547-2018, category B."""
KEYS = (*DEFAULTS, "slope")
_RANGES = {"v_dead": (0.0, 0.2), "v_sat": (0.0, 0.5), "q_max": (0.0, 1.0), "v_ref": (0.8, 1.2), "slope": (0.0, 1e4)}


def check_value(key: str, value: float) -> None:
    """Raise `InputError` for a value that no combination could make sense of."""
    low, high = _RANGES[key]
    if not low <= value <= high or (value == 0 and key != "v_dead"):
        least = f"{low:g} to" if key in ("v_dead", "v_ref") else "above 0, to"
        raise InputError(f"{key} must lie in {least} {high:g}, not {value:g}")


def curve(values: Mapping[str, float]) -> str:
    """Return the curve's points as `volt_var:curve=` takes them; what is not given is in `DEFAULTS`.

    Raises
    ------
    InputError
        If the curve would not fall: saturation inside the dead band.
    """
    given = DEFAULTS | dict(values)
    dead, q, centre = given["v_dead"], given["q_max"], given["v_ref"]
    sat = dead + q / given["slope"] if "slope" in given else given["v_sat"]
    if not sat > dead:
        raise InputError(f"v_sat = {sat:g} does not lie beyond v_dead = {dead:g}")
    middle = [(centre - dead, 0.0), (centre + dead, 0.0)] if dead else [(centre, 0.0)]
    points = [(centre - sat, q), *middle, (centre + sat, -q)]
    return "/".join(f"{v:.7g}:{y:.7g}" for v, y in points)
