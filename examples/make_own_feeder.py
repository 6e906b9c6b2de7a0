"""Write `own_feeder/`: a low-voltage grid and three summer days of profiles, as a grid operator might bring them.

Run once; afterwards the files stand on their own.  The grid is SimBench's 1-LV-rural1--1-sw; its photovoltaic plants
are marked as controllable with inverters rated 1.1 times their peak, and its home batteries get symmetric rates.
"""

from pathlib import Path

import pandapower
import pandas as pd
import simbench

from feederlab.models.files import write_profiles

CODE, FIRST_DAY, DAYS = "1-LV-rural1--1-sw", "2016-06-20", 3
HERE = Path(__file__).parent / "own_feeder"


def main() -> None:
    """Write the net and its profiles."""
    net = simbench.get_simbench_net(CODE)
    powers = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    times = pd.date_range("2016-01-01", periods=len(powers["load", "p_mw"]), freq="15min")
    days = (times >= FIRST_DAY) & (times < pd.Timestamp(FIRST_DAY) + pd.Timedelta(days=DAYS))
    frames = {
        key: powers[key].set_index(times)[days].round(6)
        for key in (("load", "p_mw"), ("load", "q_mvar"), ("sgen", "p_mw"))
    }
    net.sgen["controllable"] = True
    net.sgen["sn_mva"] = 1.1 * net.sgen.p_mw
    net.storage["max_p_mw"] = -net.storage.min_p_mw
    net.storage["soc_percent"] = 50.0
    net.storage["efficiency_percent"] = 95.0  # SimBench's own column holds 0.95
    net.storage["controllable"] = True
    net.profiles = {}
    net.name = "own_feeder"
    HERE.mkdir(exist_ok=True)
    write_profiles(frames, HERE / "profiles")
    pandapower.to_json(net, str(HERE / "net.json"))


if __name__ == "__main__":
    main()
