"""Several Kafka brokers on this machine that keep copies of each other's data, so that one of them may die.

    with KafkaCluster() as cluster:
        KafkaProducer(bootstrap_servers=cluster.bootstrap)
        cluster.brokers[0].kill()

Every topic has as many copies as there are brokers, and a write is safe when most of them have it.
"""

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from infra import java
from infra.kafka.broker import Broker


class KafkaCluster:
    """Brokers, each also a controller, up while the `with` block lasts.

    Args:
        count: how many; with three, one may be gone.
        start_s: how long the start may take.
    """

    def __init__(self, count: int = 3, start_s: float = 120) -> None:
        controllers = dict(zip(range(1, count + 1), java.free_ports(count), strict=True))
        name = str(uuid.uuid4())
        self.brokers = [
            Broker(start_s=start_s, node=node, controllers=controllers, cluster=name) for node in controllers
        ]

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers)

    def node(self, number: int) -> Broker:
        """The broker of this number."""
        return next(broker for broker in self.brokers if broker.node == number)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo, ThreadPoolExecutor(len(self.brokers)) as threads:
            list(threads.map(Broker.format, self.brokers))
            for broker in self.brokers:  # none can be reached before most of them are there
                broker.launch()
                undo.callback(broker.__exit__)
            for broker in self.brokers:
                broker.await_port()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self.brokers:
            broker.__exit__()
