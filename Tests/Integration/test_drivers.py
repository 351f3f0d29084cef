"""Drivers of other languages with their default statement caches, more of them than servers, each in its own words.

A driver that is not installed is skipped. Scripts/test installs libdbd-pg-perl.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading

import pytest

from postgres import PASSWORD

CLIENTS = 4

PERL = r"""
use strict; use warnings; use DBI;
my ($port, $me) = @ARGV;
my $db = DBI->connect("dbi:Pg:host=127.0.0.1;port=$port;dbname=app;sslmode=disable", "app", $ENV{PGPASSWORD},
    {RaiseError => 1, PrintError => 0, AutoCommit => 1});
my $add = $db->prepare('select ?::int + ?::int');
my $insert = $db->prepare('insert into t values (?, ?)');
my $sum = 0;
for my $number (1 .. 30) {
    $add->execute($number, $me);
    $sum += $add->fetchrow_arrayref->[0] - $me;
    $insert->execute($me * 1000 + $number, "row $number");
}
eval { $insert->execute($me * 1000 + 1, 'again') };
die "no error" unless $DBI::state eq '23505';
$db->begin_work; $insert->execute($me * 1000 + 999, 'gone'); $db->rollback;
my ($count) = $db->selectrow_array('select count(*) from t where id / 1000 = ?', undef, $me);
print "$sum $count\n";
"""

def run(command: list[str], timeout: float = 50) -> list[str]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"PGPASSWORD": PASSWORD},
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


def is_installed(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def small(weir_factory, table):
    return weir_factory(default_pool_size=2)


def run_side_by_side(command: list[str], port: int) -> list[str]:
    lines: list[str] = []

    def one(me: int) -> None:
        lines.extend(run([*command, str(port), str(me)]))

    threads = [threading.Thread(target=one, args=(me,)) for me in range(1, CLIENTS + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lines


def test_perl_dbd_pg(small, tmp_path):
    if not is_installed("perl", "-MDBD::Pg", "-e", "1"):
        pytest.skip("libdbd-pg-perl is not installed")
    (tmp_path / "drive.pl").write_text(PERL)
    assert run_side_by_side(["perl", str(tmp_path / "drive.pl")], small.port) == ["465 30"] * CLIENTS
