"""Request traces by format. A format is a module with a `RequestFormat`, and a line here."""

from simulator.workload.requests.azure import AZURE
from simulator.workload.requests.burstgpt import BURSTGPT
from simulator.workload.requests.mooncake import MOONCAKE
from simulator.workload.requests.protocol import RequestFormat
from simulator.workload.requests.sharegpt import SHAREGPT
from simulator.workload.requests.vidur import VIDUR

FORMATS: dict[str, RequestFormat] = {
    "azure": AZURE,
    "mooncake": MOONCAKE,
    "burstgpt": BURSTGPT,
    "vidur": VIDUR,
    "sharegpt": SHAREGPT,
}
