"""Kernels in virtual time: what is to be had, how it comes, what goes into a machine and what comes out."""

import pytest

from tcplab.bench import run, run_all
from tcplab.bench.kernels import debian
from tcplab.bench.sandbox import BenchError
from tcplab.experiments import Keepalive


@pytest.mark.parametrize("name", ["", "6", "6.2", "6.1.1", "../6.1", "6.1; reboot"])
def test_a_kernel_that_is_not_there_is_one_sentence(name):
    with pytest.raises(BenchError, match=r"^no kernel .* there are 5\.10, 6\.1, 6\.12, 6\.18, 7\.3\.$"):
        run(Keepalive(), f"linux:{name}")
    with pytest.raises(BenchError, match="no kernel"):
        list(run_all(name, [Keepalive()]))


def test_a_kernel_is_found_by_its_version_too():
    for kernel in debian.kernels().values():
        assert debian.find_kernel(kernel.version) is debian.find_kernel(kernel.name) is kernel
