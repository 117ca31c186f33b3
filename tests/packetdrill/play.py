"""Runs folders of packetdrill scripts, and records which hold.

    PYTHONPATH=.:tests python -m packetdrill.play FOLDER …            # a line a script, and the sums
    PYTHONPATH=.:tests python -m packetdrill.play FOLDER … --write    # into tests/packetdrill/verdicts.tsv
    PYTHONPATH=.:tests python -m packetdrill.play SCRIPT.pkt --trace  # each event and each segment of one

The scripts are not part of tcplab: they are under the GNU GPL. They come from github.com/google/packetdrill,
gtests/net/tcp, and from Linux, tools/testing/selftests/net/packetdrill.
"""

import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from packetdrill.machine import Player
from packetdrill.script import Differs, NotModelled, NotUnderstood, parse
from tcplab.core.releases import NEWEST

VERDICTS = Path(__file__).with_name("verdicts.tsv")
HOLDS, NOT_MODELLED, DIFFERS = "holds", "not modelled", "differs"

#: Scripts about what is not modelled, by name: they are run, and a difference is attributed to it.
SUBJECTS = {
    r"fast_recovery|cwnd_moderation": "the congestion window after a loss (PRR)",
    r"cubic": "congestion control (CUBIC)",
    r"shutdown-rdwr-write-queue-close": "a FIN beyond the congestion window, which 6.18 keeps back",
    r"gro-mss-option": "an ACK of what was never acknowledged, which passed before 3d501dd326fb (6.8)",
}
#: Scripts for Linux before a change that were not updated: the release to run them with.
RELEASES = {
    # Before 42726ec644cb an ACK of data never sent was not answered.
    r"ts_recent.invalid_ack": "6.12",
}


class Verdict(NamedTuple):
    """The result of a script, and the reason."""

    script: str
    verdict: str
    why: str = ""

    def row(self):
        """A line of the table."""
        return "\t".join(self).rstrip()


def name_of(path):
    """A script's name in the table: its suite, folder and file."""
    parts = path.with_suffix("").parts
    for mark, suite in (("tcp", "google"), ("linux", "linux"), ("packetdrill", "linux")):
        if mark in parts[:-1]:
            return "/".join((suite, *parts[len(parts) - parts[::-1].index(mark) :]))
    return path.stem


def play(text, name="", player=None):
    """The verdict on one script."""
    release = next((each for pattern, each in RELEASES.items() if re.search(pattern, name)), NEWEST)
    player = player or Player(release)
    notes = [] if release == NEWEST else [f"at the rules of {release}"]
    try:
        player.play(parse(text))
    except NotModelled as error:
        return Verdict(name, NOT_MODELLED, re.sub(r"^line \d+: ", "", str(error)))
    except Differs as error:
        subject = next((each for pattern, each in SUBJECTS.items() if re.search(pattern, name)), None)
        if subject:
            return Verdict(name, NOT_MODELLED, f"{subject}; {error}")
        return Verdict(name, DIFFERS, str(error))
    except NotUnderstood as error:
        return Verdict(name, NOT_MODELLED, f"not understood: {error}")
    if player.pushes_differ:
        notes.append(f"but for PSH, {player.pushes_differ} times")
    return Verdict(name, HOLDS, "; ".join(notes))


def scripts_of(folders):
    """All scripts below some folders, in order."""
    found = set()
    for folder in map(Path, folders):
        found |= {folder} if folder.suffix == ".pkt" else set(folder.rglob("*.pkt"))
    return sorted(found)


def play_all(folders, progress=lambda done, total: None):
    """Verdicts on all scripts below some folders."""
    paths = scripts_of(folders)
    verdicts = []
    for done, path in enumerate(paths, 1):
        verdicts.append(play(path.read_text(), name_of(path)))
        progress(done, len(paths))
    return sorted(verdicts)


def read_table():
    """The recorded verdicts."""
    lines = VERDICTS.read_text().splitlines()[1:]
    return [Verdict(*line.split("\t")) for line in lines]


class Tracing(Player):
    """Prints each event and segment."""

    def _event(self, event):
        print(f"{self.now / 1e9:10.4f} line {event.line}: {event.action}")
        super()._event(event)

    def _collect(self):
        known = len(self.left)
        super()._collect()
        for at, segment in list(self.left)[known:]:
            more = f"win {segment.window} sack {segment.sack} {segment.timestamps}"
            print(f"{at / 1e9:10.4f}     {segment} {more}")


def main(arguments):
    folders = [each for each in arguments if not each.startswith("--")]
    if not folders or set(arguments) - set(folders) - {"--write", "--trace"}:
        print(__doc__)
        return 2
    if missing := [each for each in folders if not Path(each).exists()]:
        print(f"no such folder or script: {', '.join(missing)}")
        return 2
    if "--trace" in arguments:
        for path in scripts_of(folders):
            print(play(path.read_text(), name_of(path), Tracing()).row())
        return 0

    def progress(done, total):
        print(f"\r{done} of {total}", end="", file=sys.stderr, flush=True)

    verdicts = play_all(folders, progress)
    print(file=sys.stderr)
    for verdict in verdicts:
        print(verdict.row())
    print(
        ", ".join(
            f"{number} {verdict}" for verdict, number in Counter(each.verdict for each in verdicts).items()
        )
    )
    if "--write" in arguments:
        VERDICTS.write_text("\n".join(["script\tverdict\twhy", *(each.row() for each in verdicts)]) + "\n")
    return int(any(each.verdict == DIFFERS for each in verdicts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
