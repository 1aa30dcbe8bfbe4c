"""An Airbyte in one process, for the demo, the tests, and tests of your own DAGs.

It answers as Airbyte's public API does, quirks included, and as the calls of its config API that tell of jobs and
streams. It needs no Airflow and nothing else of this package, so that an error in those can't hide in it.
"""

from airbyte_deferrable.simulator.faults import Fault
from airbyte_deferrable.simulator.remote import RemoteSimulator
from airbyte_deferrable.simulator.script import Attempt, Script
from airbyte_deferrable.simulator.simulator import Simulator
from airbyte_deferrable.simulator.streams import Amount, Stream

__all__ = ["Amount", "Attempt", "Fault", "RemoteSimulator", "Script", "Simulator", "Stream"]
