"""One real Kafka broker in one Java process, for tests, demos and benchmarks: no container, no root.

The jars come from Maven once, by the list in `pom.xml` beside this file, into a cache folder
(`MOODSTREAM_KAFKA_JARS`, else `~/.cache/moodstream/kafka-<hash of the list>`).

    with Broker() as broker:
        KafkaProducer(bootstrap_servers=broker.bootstrap)

As a command, `python -m infra.kafka.broker` starts one, prints its address and stays until Ctrl-C; with
`--fetch` it only fills the cache.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from infra import java

POM = Path(__file__).with_name("pom.xml")
_PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={protocol}://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name={protocol}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
default.replication.factor={copies}
min.insync.replicas={least}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={least}
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=4194304
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""


_SECURE = """
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
  required username="moodstream" password="{password}" user_moodstream="{password}";
ssl.keystore.type=PKCS12
ssl.keystore.location={folder}/key.p12
ssl.keystore.password={password}
ssl.truststore.type=PEM
ssl.truststore.location={folder}/certificate.pem
"""
PASSWORD = "moodstream"  # of the user moodstream, and of the key: nobody else can reach the port


def missing() -> str | None:
    """What this machine lacks to run a broker, in words; None if nothing."""
    return java.missing("a Kafka broker")


def jars() -> Path:
    """The folder with Kafka and all it needs, filled by Maven if this is the first time.

    Raises:
        RuntimeError: Maven could not bring the jars.
    """
    return java.jars("kafka", POM)


class Broker:
    """One broker on a free port, up while the `with` block lasts.

    Args:
        folder: where its data and log lie; by default a temporary folder that goes with it.
        start_s: how long the start may take.
        secure: it wants TLS (`certificate`) and the user `moodstream` with `PASSWORD`.
        node: its number in a cluster, see `infra/kafka/cluster.py`.
        controllers: the controllers' ports by node; by default it is alone.
        cluster: what the cluster is called.
    """

    def __init__(
        self,
        folder: Path | None = None,
        start_s: float = 120,
        secure: bool = False,
        node: int = 1,
        controllers: Mapping[int, int] | None = None,
        cluster: str = "",
    ) -> None:
        self._owned = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="moodstream-kafka-"))
        self.start_s, self.secure = start_s, secure
        self.port, controller = java.free_ports(2)
        self.node, self._controllers = node, dict(controllers or {node: controller})
        self._cluster = cluster or str(uuid.uuid4())

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        """What clients must trust, where it is secure."""
        return self.folder / "certificate.pem"

    def __enter__(self) -> Self:
        self.format()
        self.start()
        return self

    def format(self) -> None:
        """Write its settings, and prepare its folder for data."""
        copies = len(self._controllers)
        self._properties = self.folder / "server.properties"
        words = {"folder": self.folder, "password": PASSWORD, "protocol": "PLAINTEXT"}
        words |= {"port": str(self.port), "controller": str(self._controllers[self.node])}
        words |= {"node": str(self.node), "copies": str(copies), "least": str(copies // 2 + 1)}
        words["voters"] = ",".join(f"{node}@127.0.0.1:{port}" for node, port in self._controllers.items())
        if self.secure:
            words["protocol"] = "SASL_SSL"
            self._make_key()
        text = _PROPERTIES + (_SECURE if self.secure else "")
        self._properties.write_text(text.format(**words))
        tool = [*self._java("kafka.tools.StorageTool"), "format", "-t", self._cluster]
        subprocess.run([*tool, "-c", self._properties], check=True, capture_output=True)

    def _make_key(self) -> None:
        """A key and a certificate that it signs itself."""
        store = ["-alias", "broker", "-keystore", str(self.folder / "key.p12"), "-storepass", PASSWORD]
        make = ["-genkeypair", "-keyalg", "EC", "-validity", "30", "-storetype", "PKCS12"]
        make += ["-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1"]
        show = ["-exportcert", "-rfc", "-file", str(self.certificate)]
        for command in (make, show):
            subprocess.run(["keytool", *command, *store], check=True, capture_output=True)

    def start(self) -> None:
        """Start the Java process (again, after `stop`) on the same data and port."""
        self.launch()
        try:
            self.await_port()
        except BaseException:
            self.__exit__()
            raise

    def launch(self) -> None:
        """Begin to start the Java process."""
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen(
                [*self._java("kafka.Kafka"), str(self._properties)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def stop(self) -> None:
        """Stop the Java process; its data stay."""
        java.stop(self._process, 20)

    def kill(self) -> None:
        """What a machine does that loses its power."""
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Of the Java process."""
        return self._process.pid

    def wait(self) -> None:
        """Return when the Java process has ended."""
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._owned:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _java(self, main: str) -> list[str | Path]:
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars()}/*", main]

    def await_port(self) -> None:
        """Return when clients can connect.

        Raises:
            RuntimeError: it ended, or took too long; the message holds the end of its log.
        """
        if not java.wait_for_port(self.port, lambda: self._process.poll() is None, self.start_s):
            tail = (self.folder / "log").read_text(errors="replace")[-4000:]
            raise RuntimeError(f"the broker did not start:\n{tail}")


def main() -> None:
    """Fill the cache, and without `--fetch` run a broker until Ctrl-C."""
    jars()
    if "--fetch" in sys.argv[1:]:
        return
    with Broker() as running:
        print(running.bootstrap, flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # or Java would outlive it
        with contextlib.suppress(KeyboardInterrupt):
            running.wait()


if __name__ == "__main__":
    main()
