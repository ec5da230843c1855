"""What is found about a machine, from texts as Linux writes them."""

import pytest

from vaylix_resp.observability import surroundings as module

MOUNTS = r"""
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw,discard
24 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw
30 22 0:26 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
40 22 0:40 / /mnt/my\040share rw,relatime shared:9 - nfs4 nas:/export/my\040share rw,vers=4.2
41 22 0:41 / /srv/ssh rw shared:10 master:1 - fuse.sshfs me@there:/data rw
42 22 0:42 / /srv/data rw - overlay overlay rw,lowerdir=/a
43 42 259:3 /vaylix /srv/data/disk rw - xfs /dev/sdb1 rw
44 22 0:44 / /mnt/twice rw - cifs //nas/x rw
45 44 259:4 / /mnt/twice rw - ext4 /dev/sdc1 rw
not a line
"""


@pytest.mark.parametrize(
    "path, point, kind",
    [
        ("/var/lib/vaylix", "/", "ext4"),
        ("/", "/", "ext4"),
        ("/run/vaylix", "/run", "tmpfs"),
        ("/running", "/", "ext4"),
        ("/mnt/my share/d", "/mnt/my share", "nfs4"),
        ("/srv/data", "/srv/data", "overlay"),
        ("/srv/data/disk/d", "/srv/data/disk", "xfs"),
        ("/mnt/twice/d", "/mnt/twice", "ext4"),
    ],
)
def test_where_a_directory_lives(path, point, kind):
    mount = module.mount_of(path, MOUNTS)
    assert (mount.point, mount.kind) == (point, kind)


def test_nothing_is_known_without_mounts():
    assert module.mount_of("/d", "") is None and list(module.file_system("/d", "")) == []


@pytest.mark.parametrize(
    "path, words",
    [
        ("/var/lib/vaylix", None),
        ("/srv/data/disk", None),
        ("/mnt/my share/d", ["nfs4 (nas:/export/my share, mounted at /mnt/my share)", "network file system", "local disk"]),
        ("/srv/ssh/d", ["fuse.sshfs", "network file system"]),
        ("/run/d", ["that is memory", "put `dir` on a disk"]),
        ("/srv/data/d", ["container's own layer", "mount a volume"]),
    ],
)
def test_what_is_said_of_a_file_system(path, words):
    found = list(module.file_system(path, MOUNTS))
    if words is None:
        assert found == []
    else:
        assert all(word in found[0] for word in words)


@pytest.mark.parametrize(
    "enabled, said", [("[always] madvise never\n", 1), ("always [madvise] never\n", 0), ("always madvise [never]\n", 0), ("", 0)]
)
def test_huge_pages(enabled, said):
    found = list(module.huge_pages(enabled))
    assert len(found) == said and all("echo madvise >" in line for line in found)


@pytest.mark.parametrize("policy, said", [("0\n", 1), ("1\n", 0), ("2\n", 1), ("", 0)])
def test_overcommit(policy, said):
    found = list(module.overcommit(policy))
    assert len(found) == said and all("sysctl vm.overcommit_memory=1" in line for line in found)


@pytest.mark.parametrize("allowed, wanted, said", [("128\n", 511, 1), ("511\n", 511, 0), ("4096\n", 511, 0), ("", 511, 0), ("?", 1, 0)])
def test_the_queue_of_connections(allowed, wanted, said):
    found = list(module.backlog(allowed, wanted))
    assert len(found) == said and all("net.core.somaxconn=511" in line for line in found)
