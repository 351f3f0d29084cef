# Perl's DBD::Pg at its defaults, one process for each client: PORT CLIENTS PART.
# Prints one JSON line for each step of each client. (It has no pipelines, its cursors are SQL's, and only parameters go
# in binary: it cannot ask for binary results.)
use strict;
use warnings;
use utf8;
use DBD::Pg qw(:pg_types :async);
use DBI;
use Fcntl qw(:flock);
use JSON::PP;
use Socket;

my ($port, $clients, $part) = @ARGV;
my ($db, $me, $to_parent);
my $json = JSON::PP->new->ascii->canonical;

sub say_step {
    my ($step, @values) = @_;
    syswrite STDOUT, $json->encode({client => $me, step => $step, values => \@values}) . "\n";
}

sub open_connection {
    my %options = @_;
    my $address = "dbi:Pg:host=127.0.0.1;port=$port;dbname=app;sslmode=disable";
    %options = (RaiseError => 1, PrintError => 0, AutoCommit => 1, %options);
    return DBI->connect($address, 'app', $ENV{PGPASSWORD}, \%options);
}

sub rows { my ($sql, @values) = @_; return $db->selectall_arrayref($sql, undef, @values) }

sub value { return rows(@_)->[0][0] }

sub sqlstate {
    my ($act) = @_;
    return eval { $act->(); 1 } ? 'no error' : $DBI::state || $@;
}

sub id { return $me * 1000 + shift }

# Waits until every client has come here: each tells the parent, who then tells all.
sub barrier {
    syswrite $to_parent, '.';
    sysread $to_parent, my $answer, 1;
}

sub everyday {
    say_step('simple', rows("select 1, 'two'"), $db->do('select 1; select 2'), $db->ping);
    my $insert = $db->prepare('insert into t values (?, ?)');
    my $sum = 0;
    for my $number (0 .. 49) {
        $sum += value('select ?::int + ?::int', $number, $me) - $me;
        $insert->execute(id($number), "row $number");
    }
    say_step('parametrised', $sum);
    prepared($insert);
    types();
    asynchronous();
    copies();
    cursor();
    errors($insert);
    cancel();
    large_object();
    $db->do("set timezone to 'Etc/GMT+$me'");
    my %zones = map { value('show timezone') => 1 } 1 .. 20;
    say_step('time zone', [keys %zones]);
    say_step('rows', rows('select count(*), sum(id) from t where id / 1000 = ?', $me));
}

# A statement is named at its second execution; two clients share the text of one of these.
sub prepared {
    my ($insert) = @_;
    my $mine = $db->prepare("select v || ' of client $me' from t where id = ?");
    my $shared = $db->prepare('select $1::int + ' . $me % 2);
    for my $number (0 .. 19) {
        my @found = map { $db->selectrow_array($_->[0], undef, $_->[1]) } [$mine, id($number)], [$shared, $number];
        say_step($mine->{pg_prepare_name} ? 'prepared' : 'not yet prepared', $number, @found);
    }
    my $at_once = $db->prepare("select ?::text || ' of client $me'", {pg_prepare_now => 1});
    say_step('prepared at once', map { $db->selectrow_array($at_once, undef, $_) } 1 .. 10);
    my $never = $db->prepare("select ?::text || ' of client $me'", {pg_server_prepare => 0});
    say_step('not prepared', map { $db->selectrow_array($never, undef, "it's $_") } 1 .. 10);
    my $again = sqlstate(sub { $insert->execute(id(1), 'again') });
    say_step('error', $again, $insert->execute(id(60), 'after'));
    my $count = $insert->execute_array({ArrayTupleStatus => \my @status}, [map { id($_) } 70 .. 89], 'from an array');
    say_step('array', $count, \@status);
}

sub types {
    my $types = $db->prepare('select ?::int2, ?::int8, ?::float8, ?::text, ?::bytea, length(?::bytea), ?::int[],'
        . " ?::bool, null::date, '{\"a\": [1]}'::jsonb, 12.50::numeric, timestamp '2024-02-29 12:00:00.5'");
    my @values = (-5, 1 << 40, 1.5, 'grüße', "\0\1\xff", "\0\1\xff\0", [1, -2], 1);
    for my $place (1 .. @values) {
        my $type = {5 => PG_BYTEA, 6 => PG_BYTEA, 8 => PG_BOOL}->{$place};
        $types->bind_param($place, $values[$place - 1], $type ? {pg_type => $type} : undef);
    }
    for my $number (1 .. 5) {
        $types->execute;
        my @found = $types->fetchrow_array;
        say_step('types', $number, @found[0 .. 3], unpack('H*', $found[4]), @found[5 .. $#found]);
        $types->finish;
    }
    my $bytes = $db->prepare('select ?::bytea, md5(?)');
    $bytes->bind_param($_, undef, {pg_type => PG_BYTEA}) for 1, 2;
    for my $number (1 .. 5) {
        my $all = join('', map { chr } 0 .. 255) x $number;
        my ($read, $sum) = $db->selectrow_array($bytes, undef, $all, $all);
        say_step('binary', $number, $read eq $all, $sum);
    }
}

sub asynchronous {
    my $count = $db->prepare('select count(*) from t where id / 1000 = ? and id % 1000 < 50', {pg_async => PG_ASYNC});
    my @found;
    for my $number (1 .. 10) {
        $count->execute($me);
        select undef, undef, undef, 0.001 until $db->pg_ready;
        push @found, $db->pg_result, $count->fetchrow_array;
    }
    $db->do('select pg_sleep(0.01)', {pg_async => PG_ASYNC});
    push @found, $db->do('select 1', {pg_async => PG_ASYNC | PG_OLDQUERY_WAIT}), $db->pg_result;
    say_step('asynchronous', @found);
}

sub copies {
    my @lines = map { id($_) . "\tcopied\n" } 200 .. 299;
    $db->do('copy t from stdin');
    $db->pg_putcopydata($_) for @lines;
    my $copied = $db->pg_putcopyend;
    $db->do('copy t from stdin');
    $db->pg_putcopydata($lines[0]);
    my $again = sqlstate(sub { $db->pg_putcopyend });
    my $mine = '(select * from t where id between ' . id(200) . ' and ' . id(400) . ' order by id)';
    my %read = ('text' => '', 'binary' => '');
    for my $format (keys %read) {
        $db->do("copy $mine to stdout (format $format)");
        while ($db->pg_getcopydata(my $row) >= 0) {
            $read{$format} .= $row;
        }
    }
    say_step('copy', $copied, $again, $read{text} eq join('', @lines), unpack '%32C*', $read{binary});
}

sub cursor {
    $db->begin_work;
    $db->do('declare mine cursor for select generate_series(1, 20) + ?::int', undef, $me);
    say_step('cursor', rows('fetch 3 from mine'), value('select ?::int', $me), rows('fetch 2 from mine'));
    $db->commit;
}

sub errors {
    my ($insert) = @_;
    $db->begin_work;
    $insert->execute(id(900), 'gone');
    my $first = sqlstate(sub { $insert->execute(id(1), 'again') });
    my $second = sqlstate(sub { $db->do('select 1') });
    my $ping = $db->ping;
    $db->rollback;
    say_step('error in a transaction', $first, $second, $ping, $db->ping);
    $db->begin_work;
    $db->pg_savepoint('s');
    $first = sqlstate(sub { $insert->execute(id(1), 'again') });
    $db->pg_rollback_to('s');
    $insert->execute(id(901), 'stays');
    $db->pg_release('s');
    $db->commit;
    say_step('savepoint', $first);
    my $other = open_connection(AutoCommit => 0);
    $other->do('insert into t values (?, ?)', undef, id(902), 'stays');
    $other->commit;
    $other->do('insert into t values (?, ?)', undef, id(903), 'gone');
    $first = sqlstate(sub { $other->do('select 1 / ?::int', undef, 0) });
    $other->rollback;
    say_step('no autocommit', $first, $other->selectrow_array('select count(*) from t where id = ?', undef, id(902)));
    $other->disconnect;
}

sub cancel {
    # One sleeper at a time: whoever looks for it needs a server too.
    open my $lock, '<', $0 or die $!;
    flock $lock, LOCK_EX;
    my $watcher = open_connection();
    my $looks = "select 1 from pg_stat_activity where state = 'active' and query = ?";
    my $sleep = sub {
        my $mark = "select pg_sleep(60) /* DBD::Pg $me $$ */";
        $db->do($mark, {pg_async => PG_ASYNC});
        select undef, undef, undef, 0.005 until $watcher->selectrow_array($looks, undef, $mark);
    };
    $sleep->();
    say_step('cancel', $db->pg_cancel, $db->state, rows("select 'alive'"));
    $sleep->();
    say_step('cancel by the next', $db->do('select 1', {pg_async => PG_ASYNC | PG_OLDQUERY_CANCEL}), $db->pg_result);
    $watcher->disconnect;
}

# Large objects go by the protocol's function calls.
sub large_object {
    $db->begin_work;
    my $object = $db->pg_lo_creat($db->{pg_INV_WRITE});
    my $open = $db->pg_lo_open($object, $db->{pg_INV_WRITE});
    my $text = "client $me " x 2000;
    my $written = $db->pg_lo_write($open, $text, length $text);
    $db->commit;
    $db->begin_work;
    $open = $db->pg_lo_open($object, $db->{pg_INV_READ});
    $db->pg_lo_read($open, my $read, 1 << 20);
    $db->pg_lo_unlink($object);
    $db->commit;
    say_step('large object', $written, $read eq $text);
}

# A statement that goes out of scope is deallocated with SQL, also in a transaction; one that has failed is rolled back
# for it.
sub deallocate {
    my $sum = 0;
    for my $round (1 .. 10) {
        $db->begin_work;
        for my $number (1 .. 5) {
            my $add = $db->prepare('select ?::int + ?::int');
            $sum += $db->selectrow_array($add, undef, $number, $me) for 1 .. 3;
        }
        $db->commit;
        my $one = $db->prepare('select ?::int');
        $sum += $db->selectrow_array($one, undef, $round) for 1 .. 3;
    }
    say_step('prepared anew', $sum);
    my @failed;
    for my $round (1 .. 3) {
        $db->begin_work;
        {
            my $divide = $db->prepare('select 6 / ?::int');
            push @failed, $db->selectrow_array($divide, undef, $_) for 1 .. 3;
            push @failed, sqlstate(sub { $divide->execute(0) });
        }
        push @failed, sqlstate(sub { $db->do('select 1') });
        $db->rollback;
    }
    say_step('after an error', @failed, rows('select ?::int', $me));
}

sub set {
    $db->do('set statement_timeout to ' . (10000 + $me));
    rows("select set_config('search_path', ?, false)", "of_$me, public");
    $db->do("begin; set local work_mem to '1234kB'; commit");
    $db->do('begin; set lock_timeout to 77; rollback');
    barrier();
    my $settings = $db->prepare("select current_setting('statement_timeout'), current_setting('search_path'),"
        . " current_setting('work_mem'), current_setting('lock_timeout')");
    my %seen;
    $seen{join '; ', $db->selectrow_array($settings)}++ for 1 .. 30;
    say_step('set', \%seen);
    barrier();
    $db->do('reset statement_timeout');
    my @before = $db->selectrow_array($settings);
    $db->do('reset all');
    say_step('reset', \@before, $db->selectrow_array($settings));
}

sub listen_to {
    $db->do('listen everyone');
    $db->do("listen mine_$me");
    barrier();
    rows("select pg_notify('everyone', ?)", "from $me");
    $db->do("notify mine_$me, 'to me'");
    my %heard;
    for (my $end = time + 20; keys %heard <= $clients && time < $end;) {
        if (my $found = $db->pg_notifies) {
            $heard{"$found->[0]: $found->[2]"} = 1;
        } else {
            vec(my $sockets = '', $db->{pg_socket}, 1) = 1;
            select $sockets, undef, undef, 1;
        }
    }
    say_step('heard', sort keys %heard);
    $db->do('unlisten *');
    say_step('still', value("select 'alive'"));
}

sub hold {
    if ($me > 1) {
        my ($one, $sum) = ($db->prepare('select ?::int'), 0);
        $sum += $db->selectrow_array($one, undef, $_) for 1 .. 100;
        say_step('beside a holder', $sum);
        return;
    }
    $db->do('create temporary table scratch (i int)');
    my $insert = $db->prepare('insert into scratch values (?)');
    $insert->execute($_) for 0 .. 29;
    say_step('temporary table', rows('select count(*), sum(i) from scratch'));
    $db->do('drop table scratch');
    $db->do('select pg_advisory_lock(4717)');
    my $locks = "select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
    my $held = grep { @{rows($locks)} } 1 .. 20;
    say_step('advisory lock', $held, value('select pg_advisory_unlock(4717)'));
    $db->do('declare kept cursor with hold for select generate_series(1, 9)');
    say_step('cursor with hold', rows('fetch 2 from kept'), rows('fetch 2 from kept'));
    $db->do('close kept');
    $db->do('prepare sum (int) as select $1 + 1', {pg_direct => 1});
    say_step('sql prepare', map { value("execute sum($_)") } 1 .. 5);
    $db->do('deallocate sum');
}

my %parts = (everyday => \&everyday, deallocate => \&deallocate, set => \&set, listen => \&listen_to, hold => \&hold);
my (@children, @sockets);
for my $number (1 .. $clients) {
    socketpair(my $to_child, $to_parent, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die $!;
    my $pid = fork // die $!;
    if ($pid == 0) {
        close $_ for @sockets, $to_child;
        ($me, $db) = ($number, open_connection());
        $parts{$part}->();
        $db->disconnect;
        exit 0;
    }
    close $to_parent;
    push @children, $pid;
    push @sockets, $to_child;
}
# Whoever ends without coming to another barrier ends the barriers.
while (@sockets == grep { sysread $_, my $arrived, 1 } @sockets) {
    syswrite $_, '.' for @sockets;
}
close $_ for @sockets;
my $failed = grep { waitpid($_, 0); $? } @children;
exit($failed ? 1 : 0);
