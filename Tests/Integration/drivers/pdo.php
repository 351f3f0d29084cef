<?php
// PDO's pgsql driver at its defaults, one process for each client: PORT CLIENTS PART.
// Prints one JSON line for each step of each client. (PDO cannot cancel.)
declare(strict_types=1);

[, $port, $clients, $part] = $argv;
$clients = (int) $clients;

function say(int $me, string $step, mixed ...$values): void
{
    fwrite(STDOUT, json_encode(['client' => $me, 'step' => $step, 'values' => $values], JSON_THROW_ON_ERROR) . "\n");
}

function connect(array $options = []): PDO
{
    global $port;
    $password = getenv('PGPASSWORD');
    return new PDO("pgsql:host=127.0.0.1;port=$port;dbname=app;sslmode=disable", 'app', $password, $options);
}

function rows(PDO $db, string $sql, array $values = []): array
{
    $statement = $db->prepare($sql);
    $statement->execute($values);
    return $statement->fetchAll(PDO::FETCH_NUM);
}

function sqlstate(callable $act): string
{
    try {
        $act();
        return 'no error';
    } catch (PDOException $error) {
        return (string) $error->getCode();
    }
}

function id(int $me, int $number): int
{
    return $me * 1000 + $number;
}

function everyday(PDO $db, int $me): void
{
    say($me, 'simple', $db->query("select 1, 'two'")->fetchAll(PDO::FETCH_NUM), $db->exec('select 1; select 2'));
    $add = $db->prepare('select ?::int + ?::int');
    $insert = $db->prepare('insert into t values (:id, :v)');
    $sum = 0;
    for ($number = 0; $number < 50; $number++) {
        $add->execute([$number, $me]);
        $sum += $add->fetchColumn() - $me;
        $insert->execute(['id' => id($me, $number), 'v' => "row $number"]);
    }
    say($me, 'prepared', $sum);
    $again = sqlstate(fn() => $insert->execute(['id' => id($me, 1), 'v' => 'again']));
    say($me, 'error', $again, $insert->execute(['id' => id($me, 60), 'v' => 'after']));
    $types = $db->prepare("select ?::int2, ?::int8, ?::float8, ?::text, ?::bool, ?::date, '{1,-2}'::int4[], 12.50::numeric");
    $types->bindValue(1, -5, PDO::PARAM_INT);
    $types->bindValue(2, 1 << 40, PDO::PARAM_INT);
    $types->bindValue(3, '1.5');
    $types->bindValue(4, 'grüße');
    $types->bindValue(5, true, PDO::PARAM_BOOL);
    $types->bindValue(6, null, PDO::PARAM_NULL);
    $types->execute();
    say($me, 'types', $types->fetchAll(PDO::FETCH_NUM));
    $bytes = $db->prepare('select ?::bytea, length(?::bytea)');
    foreach ([1, 2] as $place) {
        $bytes->bindValue($place, "\0\1\xff", PDO::PARAM_LOB);
    }
    $bytes->execute();
    [$stream, $length] = $bytes->fetch(PDO::FETCH_NUM);
    say($me, 'binary', bin2hex(stream_get_contents($stream)), $length);
    foreach (['emulated' => PDO::ATTR_EMULATE_PREPARES, 'not prepared' => PDO::PGSQL_ATTR_DISABLE_PREPARES] as $how => $option) {
        $other = connect([$option => true]);
        $sum = 0;
        for ($number = 0; $number < 20; $number++) {
            $sum += rows($other, 'select ?::int + ?::int', [$number, $me])[0][0];
            $sum += count(rows($other, 'select v from t where v = ?', ["row $number"]));
        }
        say($me, $how, $sum > 0, rows($other, "select ?::text || '!'", ["it's"]));
    }
    copies($db, $me);
    errors($db, $me, $insert);
    largeObject($db, $me);
    $db->exec("set timezone to 'Etc/GMT+$me'");
    $zones = [];
    for ($number = 0; $number < 20; $number++) {
        $zones[$db->query('show timezone')->fetchColumn()] = true;
    }
    say($me, 'time zone', array_keys($zones));
    say($me, 'rows', rows($db, 'select count(*), sum(id) from t where id / 1000 = ?', [$me]));
}

function copies(PDO $db, int $me): void
{
    $lines = array_map(fn($number) => id($me, $number) . "\tcopied", range(200, 299));
    $copied = $db->pgsqlCopyFromArray('t', $lines);
    $again = sqlstate(fn() => $db->pgsqlCopyFromArray('t', [$lines[0]]));
    $mine = array_filter($db->pgsqlCopyToArray('t'), fn($line) => intdiv((int) $line, 1000) === $me);
    say($me, 'copy', $copied, $again, count($mine));
}

function errors(PDO $db, int $me, PDOStatement $insert): void
{
    $db->beginTransaction();
    $insert->execute(['id' => id($me, 900), 'v' => 'gone']);
    $first = sqlstate(fn() => $insert->execute(['id' => id($me, 1), 'v' => 'again']));
    $second = sqlstate(fn() => $db->exec('select 1'));
    $db->rollBack();
    say($me, 'error in a transaction', $first, $second, $db->inTransaction());
    $db->beginTransaction();
    $db->exec('savepoint s');
    $first = sqlstate(fn() => $insert->execute(['id' => id($me, 1), 'v' => 'again']));
    $db->exec('rollback to s');
    $insert->execute(['id' => id($me, 901), 'v' => 'stays']);
    $db->commit();
    $db->beginTransaction();
    $db->exec('set local statement_timeout to 20');
    $late = sqlstate(fn() => $db->exec('select pg_sleep(60)'));
    $db->rollBack();
    say($me, 'savepoint', $first);
    say($me, 'timeout', $late, $db->query("select 'alive'")->fetchColumn());
}

function cursor(PDO $db, int $me): void
{
    $db->beginTransaction();
    $db->exec("declare mine cursor for select generate_series(1, 20) + $me");
    $parts = [$db->query('fetch 3 from mine')->fetchAll(PDO::FETCH_NUM), $db->query('fetch 2 from mine')->fetchAll(PDO::FETCH_NUM)];
    $db->commit();
    say($me, 'cursor', $parts);
}

// Large objects go by the protocol's function calls.
function largeObject(PDO $db, int $me): void
{
    $db->beginTransaction();
    $object = $db->pgsqlLOBCreate();
    $stream = $db->pgsqlLOBOpen($object, 'w');
    fwrite($stream, str_repeat("client $me ", 2000));
    fclose($stream);
    $db->commit();
    $db->beginTransaction();
    $stream = $db->pgsqlLOBOpen($object, 'r');
    $read = stream_get_contents($stream);
    fclose($stream);
    $db->pgsqlLOBUnlink($object);
    $db->commit();
    say($me, 'large object', strlen($read), md5($read));
}

// A statement that goes out of scope is deallocated with SQL, also in a transaction. `query` makes such statements.
function deallocate(PDO $db, int $me): void
{
    cursor($db, $me);
    $sum = 0;
    for ($round = 0; $round < 10; $round++) {
        $db->beginTransaction();
        for ($number = 0; $number < 5; $number++) {
            $sum += rows($db, 'select ?::int + ?::int', [$number, $me])[0][0];
        }
        $db->commit();
        $sum += rows($db, 'select ?::int', [$round])[0][0];
    }
    say($me, 'prepared anew', $sum);
}

function set(PDO $db, int $me): void
{
    $db->exec('set statement_timeout to ' . (10000 + $me));
    $set = $db->prepare("select set_config('search_path', ?, false)");
    $set->execute(["of_$me, public"]);
    $db->exec("begin; set local work_mem to '1234kB'; commit");
    $db->exec('begin; set lock_timeout to 77; rollback');
    barrier();
    $settings = $db->prepare("select current_setting('statement_timeout'), current_setting('search_path'),"
        . " current_setting('work_mem'), current_setting('lock_timeout')");
    $seen = [];
    for ($number = 0; $number < 30; $number++) {
        $settings->execute();
        $row = json_encode($settings->fetch(PDO::FETCH_NUM));
        $seen[$row] = ($seen[$row] ?? 0) + 1;
    }
    say($me, 'set', $seen);
    $db->exec('reset statement_timeout');
    $db->exec('reset all');
    say($me, 'reset', $db->query('show statement_timeout')->fetchColumn(), $db->query('show search_path')->fetchColumn());
}

function listen(PDO $db, int $me): void
{
    global $clients;
    $db->exec('listen everyone');
    $db->exec("listen mine_$me");
    barrier();
    $db->exec("notify everyone, 'from $me'");
    $db->exec("notify mine_$me, 'to me'");
    $heard = [];
    for ($end = time() + 20; count($heard) <= $clients && time() < $end;) {
        if ($found = $db->pgsqlGetNotify(PDO::FETCH_ASSOC, 1000)) {
            $heard["{$found['message']}: {$found['payload']}"] = true;
        }
    }
    ksort($heard);
    say($me, 'heard', array_keys($heard));
    $db->exec('unlisten *');
    say($me, 'still', $db->query("select 'alive'")->fetchColumn());
}

function hold(PDO $db, int $me): void
{
    if ($me > 1) {
        $one = $db->prepare('select ?::int');
        for ($number = $sum = 0; $number < 100; $number++) {
            $sum += $one->execute([$number]);
        }
        say($me, 'beside a holder', $sum);
        return;
    }
    $db->exec('create temporary table scratch (i int)');
    $insert = $db->prepare('insert into scratch values (?)');
    for ($number = 0; $number < 30; $number++) {
        $insert->execute([$number]);
    }
    say($me, 'temporary table', $db->query('select count(*), sum(i) from scratch')->fetchAll(PDO::FETCH_NUM));
    $db->exec('drop table scratch');
    $db->query('select pg_advisory_lock(4714)');
    $locks = "select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
    for ($number = $held = 0; $number < 20; $number++) {
        $held += count($db->query($locks)->fetchAll());
    }
    say($me, 'advisory lock', $held, $db->query('select pg_advisory_unlock(4714)')->fetchColumn());
    // PDO's scrolling cursor is one WITH HOLD, which it closes when the statement goes out of scope.
    $cursor = $db->prepare('select generate_series(1, 9)', [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
    $cursor->execute();
    $fetch = fn(int $how) => $cursor->fetch(PDO::FETCH_NUM, $how);
    $found = [$fetch(PDO::FETCH_ORI_NEXT), $fetch(PDO::FETCH_ORI_LAST), $fetch(PDO::FETCH_ORI_PRIOR), $fetch(PDO::FETCH_ORI_FIRST)];
    say($me, 'cursor with hold', $found);
    unset($cursor, $fetch);
    $db->exec('prepare sum (int) as select $1 + 1');
    for ($number = 0; $number < 5; $number++) {
        say($me, 'sql prepare', $db->query("execute sum($number)")->fetchColumn());
    }
    $db->exec('deallocate sum');
}

// Waits until every client has come here: each tells the parent, who then tells all.
function barrier(): void
{
    global $toParent;
    fwrite($toParent, '.');
    fread($toParent, 1);
}

$children = $sockets = [];
for ($me = 1; $me <= $clients; $me++) {
    [$parents, $toParent] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
    $pid = pcntl_fork();
    if ($pid === 0) {
        fclose($parents);
        $part(connect(), $me);
        exit(0);
    }
    fclose($toParent);
    $children[] = $pid;
    $sockets[] = $parents;
}
if (in_array($part, ['set', 'listen'], true)) {
    foreach ($sockets as $socket) {
        fread($socket, 1);
    }
    foreach ($sockets as $socket) {
        fwrite($socket, '.');
    }
}
foreach ($children as $pid) {
    pcntl_waitpid($pid, $status);
    if (!pcntl_wifexited($status) || pcntl_wexitstatus($status) !== 0) {
        exit(1);
    }
}
