"""A landing that kills its process where it is told to."""

import os
import signal

from moodstream.sinks.cluster import Cluster, Topics
from moodstream.sinks.land import Lander
from moodstream.sinks.land_lake import LakeLanding
from moodstream.sinks.land_postgres import PostgresLanding
from moodstream.sinks.landing import Landing


class _Dying(Landing):
    moment, count = "", 0

    def _at(self, moment: str) -> None:
        if moment == self.moment:
            self.count -= 1
            if self.count == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DyingLake(_Dying, LakeLanding):
    pass


class DyingPostgres(_Dying, PostgresLanding):
    pass


def land_once(bootstrap: str, prefix: str, to: str, schema: str, moment: str, count: int) -> None:
    """Land what is there; with a moment (`begun`, `written`, `committed`) die there, the COUNTth time."""
    landing = DyingPostgres(to, schema) if "://" in to else DyingLake(to)
    landing.moment, landing.count = moment, count
    lander = Lander(Cluster(bootstrap), landing, Topics(prefix))
    lander.round()
    lander.close()
