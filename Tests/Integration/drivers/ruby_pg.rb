# ruby-pg at its defaults, one thread for each client: PORT CLIENTS PART.
# Prints one JSON line for each step of each client. (Its cursors are SQL's, and it deallocates with SQL.)
require "json"
require "pg"

PORT, CLIENTS, PART = ARGV[0].to_i, ARGV[1].to_i, ARGV[2]
Thread.abort_on_exception = true
PRINTING = Mutex.new
# One sleeper at a time: whoever looks for it needs a server too.
CANCELLING = Mutex.new

# Lets go when every client has come, again and again.
class Barrier
  def initialize
    @lock, @opened, @waiting, @round = Mutex.new, ConditionVariable.new, 0, 0
  end

  def wait
    @lock.synchronize do
      round = @round
      if (@waiting += 1) == CLIENTS
        @waiting = 0
        @round += 1
        @opened.broadcast
      end
      @opened.wait(@lock) while round == @round
    end
  end
end

BARRIER = Barrier.new

def connect
  PG.connect(host: "127.0.0.1", port: PORT, dbname: "app", user: "app", password: ENV["PGPASSWORD"], sslmode: "disable")
end

def sqlstate
  yield
  "no error"
rescue PG::Error => error
  error.result&.error_field(PG::PG_DIAG_SQLSTATE) || error.class.name
end

class Client
  attr_reader :db, :me

  def initialize(me)
    @me = me
    @db = connect
  end

  def say(step, *values)
    line = JSON.generate({ client: me, step: step, values: values }, ascii_only: true)
    PRINTING.synchronize { $stdout.puts(line) }
  end

  def rows(sql, values = [])
    db.exec_params(sql, values).values
  end

  def id(number)
    me * 1000 + number
  end

  def insert(number, text)
    db.exec_prepared("insert", [id(number), text])
  end

  def everyday
    say("simple", db.exec("select 1, 'two'").values, db.exec("select 1; select 2").values)
    db.prepare("insert", "insert into t values ($1, $2)")
    sum = 0
    50.times do |number|
      sum += rows("select $1::int + $2::int", [number, me])[0][0].to_i - me
      insert(number, "row #{number}")
    end
    say("parametrised", sum)
    prepared
    types
    pipeline
    copies
    cursor
    errors
    cancel
    large_object
    db.exec("set timezone to 'Etc/GMT+#{me}'")
    zones = Array.new(20) { [rows("show timezone"), db.parameter_status("TimeZone")] }.uniq
    say("time zone", zones)
    db.reset
    say("connected anew", db.parameter_status("TimeZone") != zones[0][1], sqlstate { insert(990, "unknown") })
    say("rows", rows("select count(*), sum(id) from t where id / 1000 = $1", [me]))
  end

  # Two clients share the name of one of these with another text, and two its text.
  def prepared
    db.prepare("mine", "select v || ' of client #{me}' from t where id = $1")
    db.prepare("shared", "select $1::int + #{me % 2}")
    found = Array.new(20) do |number|
      [db.exec_prepared("mine", [id(number)]).getvalue(0, 0), db.exec_prepared("shared", [number]).getvalue(0, 0)]
    end
    say("prepared", found)
    # The unnamed statement, in two exchanges.
    found = Array.new(20) do |number|
      db.prepare("", "select $1::text || #{number % 3 + me}")
      db.exec_prepared("", [number]).getvalue(0, 0)
    end
    say("unnamed", found)
    described = db.describe_prepared("mine")
    unknown = sqlstate { db.describe_prepared("none") }
    say("described", described.nparams, described.fname(0), described.ftype(0), unknown)
    taken = sqlstate { db.prepare("mine", "select 1") }
    say("error", taken, sqlstate { insert(1, "again") }, insert(60, "after").cmd_tuples)
  end

  def types
    sql = "select $1::int2 as a, $2::int8 as b, $3::float8 as c, $4::text as d, $5::bytea as e, $6::bool as f," \
      " null::date as g, timestamp '2024-02-29 12:00:00.5' as h"
    texts = ", $7::int4[] as i, '{\"a\": [1]}'::jsonb as j, 12.50::numeric as k"
    bytes = { value: "\0\1\xff".b, type: 17, format: 1 }
    say("types", rows(sql + texts, ["-5", 1 << 40, 1.5, "grüße", bytes, true, "{1,-2}"]))
    number = { value: [1 << 40].pack("q>"), type: 20, format: 1 }
    found = Array.new(10) do |round|
      result = db.exec_params("select $1, $2, $3::int4, timestamp '2024-02-29 12:00:00'", [number, bytes, round], 1)
      [result.fformat(0), *result.values[0].map { |value| value.unpack1("H*") }]
    end
    say("binary", found)
    other = connect
    other.type_map_for_results = PG::BasicTypeMapForResults.new(other)
    other.type_map_for_queries = PG::BasicTypeMapForQueries.new(other)
    values = [-5, 1 << 40, 1.5, "grüße", PG::BasicTypeMapForQueries::BinaryData.new("\0\1\xff".b), true]
    [other.exec_params(sql + texts, [*values, [1, -2]]), other.exec_params(sql, values, 1)].each do |result|
      say("type map", result.fformat(0), result.values[0].map { |value| [value.class, value.to_s.b.inspect] })
    end
    other.close
  end

  def results(count)
    Array.new(count) do
      result = db.get_result
      # Nothing comes behind a Sync; a null ends the results of each query.
      db.get_result unless result.result_status == PG::PGRES_PIPELINE_SYNC
      [result.res_status(result.result_status), result.values, result.error_field(PG::PG_DIAG_SQLSTATE)]
    end
  end

  def pipeline
    db.enter_pipeline_mode
    20.times do |number|
      db.send_query_prepared("insert", [id(100 + number), "pipelined"])
      db.send_query_params("select v, $2::int from t where id = $1", [id(100 + number), number])
    end
    # A Flush: the answers come though the transaction is not over.
    db.send_flush_request
    first = results(40)
    db.send_prepare("piped", "select $1::int + #{me}")
    db.send_query_prepared("piped", [1])
    db.send_describe_prepared("piped")
    db.pipeline_sync
    say("pipeline", first, results(4))
    db.send_query_prepared("insert", [id(130), "goes with its batch"])
    db.send_query_prepared("insert", [id(100), "again"])
    db.send_query_prepared("insert", [id(131), "after the error"])
    db.pipeline_sync
    db.send_query_prepared("insert", [id(132), "after the Sync"])
    db.pipeline_sync
    say("pipeline error", results(6))
    db.exit_pipeline_mode
  end

  def copied_out(sql, decoder = nil)
    found = []
    db.copy_data(sql, decoder) do
      while (part = db.get_copy_data)
        found << part
      end
    end
    found
  end

  def copies
    encoder = PG::TextEncoder::CopyRow.new
    lines = (200...300).map { |number| [id(number), "copied\t#{number}"] }
    copied = db.copy_data("copy t from stdin", encoder) { lines.each { |line| db.put_copy_data(line) } }
    again = sqlstate { db.copy_data("copy t from stdin", encoder) { db.put_copy_data(lines[0]) } }
    given_up = begin
      db.copy_data("copy t from stdin", encoder) { db.put_copy_data([id(300), "gone"]) && raise("given up") }
    rescue RuntimeError => error
      error.message
    end
    mine = "(select * from t where id between #{id(200)} and #{id(400)} order by id)"
    same = copied_out("copy #{mine} to stdout", PG::TextDecoder::CopyRow.new) == lines.map { |line| line.map(&:to_s) }
    binary = copied_out("copy #{mine} to stdout (format binary)").join
    say("copy", copied.cmd_tuples, again, given_up, same, binary.bytesize, binary.sum)
  end

  def cursor
    db.transaction do
      db.exec_params("declare mine cursor for select generate_series(1, 20) + $1::int", [me])
      say("cursor", rows("fetch 3 from mine"), rows("select $1::int", [me]), rows("fetch 2 from mine"))
    end
    db.send_query_params("select generate_series(1, 250) + $1::int", [me])
    db.set_single_row_mode
    streamed = db.get_result.stream_each_row.to_a
    db.get_last_result
    say("row by row", streamed.size, streamed[-1])
  end

  def errors
    second = nil
    first = sqlstate do
      db.transaction do
        insert(900, "gone")
        insert(1, "again")
      ensure
        second = [sqlstate { db.exec("select 1") }, db.transaction_status]
      end
    end
    say("error in a transaction", first, second, db.transaction_status)
    db.transaction do
      db.exec("savepoint s")
      first = sqlstate { insert(1, "again") }
      db.exec("rollback to s")
      insert(901, "stays")
    end
    say("savepoint", first)
  end

  def cancel
    CANCELLING.synchronize do
      watcher = connect
      mark = "select pg_sleep(60) /* ruby-pg #{me} #{$$} */"
      looks = "select 1 from pg_stat_activity where state = 'active' and query = $1"
      db.send_query(mark)
      sleep(0.005) while watcher.exec_params(looks, [mark]).ntuples.zero?
      watcher.close
      say("cancel", db.cancel, sqlstate { db.get_last_result }, rows("select 'alive'"))
    end
  end

  # Large objects go by the protocol's function calls.
  def large_object
    object = nil
    db.transaction do
      object = db.lo_creat
      db.lo_write(db.lo_open(object, PG::INV_WRITE), "client #{me} " * 2000)
    end
    db.transaction do
      read = db.lo_read(db.lo_open(object, PG::INV_READ), 1 << 20)
      say("large object", read.size, read[0, 20])
      db.lo_unlink(object)
    end
  end

  def deallocate
    db.prepare("mine", "select 'client #{me}'")
    say("prepared", db.exec_prepared("mine").values)
    db.exec("deallocate mine")
    gone = sqlstate { db.exec_prepared("mine") }
    db.prepare("mine", "select 'client #{me} again'")
    say("prepared again", gone, db.exec_prepared("mine").values)
    60.times { |number| db.prepare("number #{number}", "select #{number} + $1::int") }
    say("many", Array.new(60) { |number| db.exec_prepared("number #{number}", [me]).getvalue(0, 0) })
    db.exec("deallocate all")
    say("all gone", sqlstate { db.exec_prepared("mine") }, sqlstate { db.exec_prepared("number 7", [1]) })
  end

  def set
    db.exec("set statement_timeout to #{10_000 + me}")
    rows("select set_config('search_path', $1, false)", ["of_#{me}, public"])
    db.exec("begin; set local work_mem to '1234kB'; commit")
    db.exec("begin; set lock_timeout to 77; rollback")
    db.set_client_encoding("LATIN1") if me.even?
    BARRIER.wait
    settings = "select current_setting('statement_timeout'), current_setting('search_path')," \
      " current_setting('work_mem'), current_setting('lock_timeout'), 'gr' || chr(252) || $1"
    seen = Array.new(30) { rows(settings, ["n"])[0].map { |value| [value, value.encoding.to_s, value.bytes.size] } }
    say("set", seen.tally.to_a)
    BARRIER.wait
    db.exec("reset statement_timeout")
    before = rows(settings, ["n"])
    db.exec("reset all")
    say("reset", before, rows(settings, ["n"]), db.get_client_encoding)
  end

  def listen
    db.exec("listen everyone")
    db.exec("listen mine_#{me}")
    BARRIER.wait
    rows("select pg_notify('everyone', $1)", ["from #{me}"])
    db.exec("notify mine_#{me}, 'to me'")
    heard, finish = [], Time.now + 20
    while heard.uniq.size <= CLIENTS && Time.now < finish
      db.wait_for_notify(1) { |channel, _, payload| heard << "#{channel}: #{payload}" }
    end
    say("heard", heard.sort)
    db.exec("unlisten *")
    say("still", rows("select 'alive'"))
  end

  def hold
    if me > 1
      say("beside a holder", Array.new(100) { |number| rows("select $1::int", [number])[0][0].to_i }.sum)
      return
    end
    db.exec("create temporary table scratch (i int)")
    db.prepare("insert", "insert into scratch values ($1)")
    30.times { |number| db.exec_prepared("insert", [number]) }
    say("temporary table", rows("select count(*), sum(i) from scratch"))
    db.exec("drop table scratch")
    db.exec("select pg_advisory_lock(4716)")
    locks = "select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
    held = Array.new(20) { rows(locks).size }.sum
    say("advisory lock", held, rows("select pg_advisory_unlock(4716)"))
    db.exec("declare kept cursor with hold for select generate_series(1, 9)")
    say("cursor with hold", db.exec("fetch 2 from kept").values, rows("fetch 2 from kept"))
    db.exec("close kept")
    db.exec("prepare sum (int) as select $1 + 1")
    5.times { |number| say("sql prepare", db.exec("execute sum(#{number})").values, rows("execute sum(#{number})")) }
    db.exec("deallocate sum")
  end
end

threads = (1..CLIENTS).map do |me|
  Thread.new do
    client = Client.new(me)
    client.public_send(PART)
    client.db.close
  end
end
threads.each(&:join)
