"""Drivers of other languages with their default statement caches, more of them than servers, each in its own words.

A driver that is not installed is skipped. Scripts/test installs libdbd-pg-perl and ruby-pg.
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

RUBY = r"""
require "pg"
port, me = ARGV.map(&:to_i)
db = PG.connect(host: "127.0.0.1", port: port, dbname: "app", user: "app", password: ENV["PGPASSWORD"], sslmode: "disable")
db.prepare("add", "select $1::int + $2::int as sum")
db.prepare("insert", "insert into t values ($1, $2)")
sum = 0
30.times do |index|
  number = index + 1
  sum += db.exec_prepared("add", [number, me])[0]["sum"].to_i - me
  db.exec_prepared("insert", [me * 1000 + number, "row #{number}"])
end
begin
  db.exec_prepared("insert", [me * 1000 + 1, "again"])
  raise "no error"
rescue PG::UniqueViolation
end
begin
  db.transaction { db.exec_prepared("insert", [me * 1000 + 999, "gone"]); raise "back" }
rescue RuntimeError
end
puts "#{sum} #{db.exec_params("select count(*) from t where id / 1000 = $1", [me])[0]["count"]}"
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


def test_ruby_pg(small, tmp_path):
    if not is_installed("ruby", "-rpg", "-e", "1"):
        pytest.skip("ruby-pg is not installed")
    (tmp_path / "drive.rb").write_text(RUBY)
    assert run_side_by_side(["ruby", str(tmp_path / "drive.rb")], small.port) == ["465 30"] * CLIENTS
