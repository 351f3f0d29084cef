// pgx at its defaults (a cache of named prepared statements, binary formats): PORT CLIENTS PART.
// Prints one JSON line for each step of each client.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

var (
	printing   sync.Mutex
	cancelling sync.Mutex // one sleeper at a time: whoever looks for it needs a server too
	barrier    sync.WaitGroup
)

type client struct {
	*pgx.Conn
	context.Context
	number int
}

func (c *client) say(step string, values ...interface{}) {
	line, err := json.Marshal(map[string]interface{}{"client": c.number, "step": step, "values": fmt.Sprint(values...)})
	check(err)
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func sqlstate(err error) string {
	var found *pgconn.PgError
	if errors.As(err, &found) {
		return found.Code
	}
	return fmt.Sprint(err)
}

func address() string {
	return fmt.Sprintf("host=127.0.0.1 port=%s user=app dbname=app sslmode=disable", os.Args[1])
}

func connect(ctx context.Context, number int) *client {
	conn, err := pgx.Connect(ctx, address())
	check(err)
	return &client{conn, ctx, number}
}

// The values of all rows, row by row.
func (c *client) all(sql string, arguments ...interface{}) (found [][]interface{}) {
	rows, err := c.Query(c, sql, arguments...)
	check(err)
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		check(err)
		found = append(found, values)
	}
	check(rows.Err())
	return found
}

func (c *client) text(sql string, arguments ...interface{}) (value string) {
	check(c.QueryRow(c, sql, arguments...).Scan(&value))
	return value
}

func (c *client) exec(sql string, arguments ...interface{}) string {
	tag, err := c.Exec(c, sql, arguments...)
	check(err)
	return tag.String()
}

func (c *client) id(number int) int { return c.number*1000 + number }

func (c *client) everyday() {
	c.say("simple", c.all("select 1, 'two'", pgx.QuerySimpleProtocol(true)))
	sum := 0
	for number := 0; number < 50; number++ {
		var got int
		check(c.QueryRow(c, "select $1::int + $2::int", number, c.number).Scan(&got))
		sum += got - c.number
		c.exec("insert into t values ($1, $2)", c.id(number), fmt.Sprint("row ", number))
	}
	c.say("parametrised", sum)
	_, err := c.Prepare(c, "mine", fmt.Sprintf("select v || ' of client %d' from t where id = $1", c.number))
	check(err)
	c.say("prepared", c.text("mine", c.id(7)), c.text("mine", c.id(8)))
	c.say("binary", c.all("select $1::int2, $2::int8, $3::float8, $4::text, $5::bytea, $6::int4[], $7::timestamptz,"+
		" $8::bool, null::date, '{\"a\": [1]}'::jsonb, '1 day 2 hours'::interval, 12.50::numeric,"+
		" 'f47ac10b-58cc-4372-a567-0e02b2c3d479'::uuid",
		int16(-5), int64(1)<<40, 1.5, "grüße", []byte{0, 1, 255}, []int32{1, -2},
		time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), true))
	c.batches()
	c.copies()
	c.cursor()
	c.errors()
	c.cancel()
	c.exec(fmt.Sprintf("set timezone to 'Etc/GMT+%d'", c.number))
	for number := 0; number < 20; number++ {
		if zone := c.text("show timezone"); zone != fmt.Sprintf("Etc/GMT+%d", c.number) {
			c.say("a stranger's time zone", zone)
		}
	}
	c.say("rows", c.all("select count(*), sum(id) from t where id / 1000 = $1", c.number))
}

func (c *client) batches() {
	batch := &pgx.Batch{}
	for number := 100; number < 150; number++ {
		batch.Queue("insert into t values ($1, $2)", c.id(number), "batch")
		batch.Queue("select count(*) from t where id = $1", c.id(number))
	}
	results, found := c.SendBatch(c, batch), 0
	for number := 100; number < 150; number++ {
		_, err := results.Exec()
		check(err)
		var count int
		check(results.QueryRow().Scan(&count))
		found += count
	}
	check(results.Close())
	batch = &pgx.Batch{}
	batch.Queue("insert into t values ($1, $2)", c.id(160), "goes with its batch")
	batch.Queue("insert into t values ($1, $2)", c.id(100), "again")
	batch.Queue("insert into t values ($1, $2)", c.id(161), "after the error")
	c.say("batch", found, " ", sqlstate(c.SendBatch(c, batch).Close()))
}

func (c *client) copies() {
	rows := [][]interface{}{}
	for number := 200; number < 300; number++ {
		rows = append(rows, []interface{}{c.id(number), "copied"})
	}
	columns := []string{"id", "v"}
	count, err := c.CopyFrom(c, pgx.Identifier{"t"}, columns, pgx.CopyFromRows(rows))
	check(err)
	_, err = c.CopyFrom(c, pgx.Identifier{"t"}, columns, pgx.CopyFromRows(rows[:1]))
	c.say("copy", count, " ", sqlstate(err))
}

func (c *client) cursor() {
	check(c.BeginFunc(c, func(tx pgx.Tx) error {
		c.exec("declare mine cursor for select generate_series(1, 20) + $1::int", c.number)
		c.say("cursor", c.all("fetch 3 from mine"), c.all("fetch 2 from mine"))
		return nil
	}))
}

func (c *client) errors() {
	tx, err := c.Begin(c)
	check(err)
	c.exec("insert into t values ($1, $2)", c.id(900), "gone")
	_, err = c.Exec(c, "insert into t values ($1, $2)", c.id(1), "again")
	_, second := c.Exec(c, "select 1")
	commit := tx.Commit(c)
	c.say("error in a transaction", sqlstate(err), " ", sqlstate(second), " ", commit)
	tx, err = c.Begin(c)
	check(err)
	inner, err := tx.Begin(c)
	check(err)
	_, err = inner.Exec(c, "select 1 / $1::int", 0)
	check(inner.Rollback(c))
	_, second = tx.Exec(c, "insert into t values ($1, $2)", c.id(901), "stays")
	check(tx.Commit(c))
	c.say("savepoint", sqlstate(err), " ", second)
}

// Runs `sleep` and calls `act` once it runs.
func (c *client) whileAsleep(sleep func(string) error, act func()) error {
	cancelling.Lock()
	defer cancelling.Unlock()
	watcher := connect(c.Context, c.number)
	defer watcher.Close(c)
	done := make(chan error, 1)
	mark := fmt.Sprintf("select pg_sleep(60) /* pgx %d %d */", c.number, os.Getpid())
	go func() { done <- sleep(mark) }()
	for watcher.text("select count(*)::text from pg_stat_activity where state = 'active' and query = $1", mark) != "1" {
		time.Sleep(5 * time.Millisecond)
	}
	act()
	return <-done
}

func (c *client) cancel() {
	err := c.whileAsleep(
		func(sql string) error { _, err := c.Exec(c, sql); return err },
		func() { check(c.PgConn().CancelRequest(c)) })
	c.say("cancel", sqlstate(err), " ", c.text("select 'alive'"))
	// pgx closes a connection whose context ends, and cancels what it left running.
	other := connect(c.Context, c.number)
	ending, end := context.WithCancel(c.Context)
	var closed <-chan struct{} = other.PgConn().CleanupDone()
	err = c.whileAsleep(func(sql string) error { _, err := other.Exec(ending, sql); return err }, end)
	<-closed
	c.say("cancel by context", errors.Is(err, context.Canceled), other.IsClosed())
}

// pgx deallocates with SQL, by hand and when its cache of 512 statements is full.
func (c *client) deallocate() {
	_, err := c.Prepare(c, "mine", fmt.Sprintf("select 'client %d'", c.number))
	check(err)
	c.say("prepared", c.text("mine"))
	check(c.Deallocate(c, "mine"))
	_, err = c.Prepare(c, "mine", fmt.Sprintf("select 'client %d again'", c.number))
	check(err)
	c.say("prepared again", c.text("mine"))
	sum := 0
	for number := 0; number < 600; number++ {
		sum += len(c.all(fmt.Sprintf("select %d + $1::int", number), c.number))
	}
	c.say("more than the cache holds", sum)
}

func (c *client) set() {
	c.exec(fmt.Sprintf("set statement_timeout to %d", 10000+c.number))
	c.exec("select set_config('search_path', $1, false)", fmt.Sprintf("of_%d, public", c.number))
	c.exec("begin; set local work_mem to '1234kB'; commit", pgx.QuerySimpleProtocol(true))
	c.exec("begin; set lock_timeout to 77; rollback", pgx.QuerySimpleProtocol(true))
	barrier.Done()
	barrier.Wait()
	seen := map[string]int{}
	for number := 0; number < 30; number++ {
		seen[fmt.Sprint(c.all("select current_setting('statement_timeout'), current_setting('search_path'),"+
			" current_setting('work_mem'), current_setting('lock_timeout')"))]++
	}
	c.say("set", seen)
	c.exec("reset statement_timeout")
	c.exec("reset all")
	c.say("reset", c.all("select current_setting('statement_timeout'), current_setting('search_path')"))
}

func (c *client) listen() {
	c.exec("listen everyone")
	c.exec(fmt.Sprintf("listen mine_%d", c.number))
	barrier.Done()
	barrier.Wait()
	c.exec("select pg_notify('everyone', $1)", fmt.Sprint("from ", c.number))
	c.exec("select pg_notify($1, 'to me')", fmt.Sprintf("mine_%d", c.number))
	heard := map[string]bool{}
	clients, _ := strconv.Atoi(os.Args[2])
	for len(heard) < clients+1 {
		notification, err := c.WaitForNotification(c)
		check(err)
		heard[notification.Channel+": "+notification.Payload] = true
	}
	c.say("heard", heard)
	c.exec("unlisten *")
	c.say("still", c.text("select 'alive'"))
}

func (c *client) hold() {
	if c.number > 1 {
		sum := 0
		for number := 0; number < 100; number++ {
			sum += len(c.all("select $1::int", number))
		}
		c.say("beside a holder", sum)
		return
	}
	c.exec("create temporary table scratch (i int)")
	for number := 0; number < 30; number++ {
		c.exec("insert into scratch values ($1)", number)
	}
	c.say("temporary table", c.all("select count(*), sum(i) from scratch"))
	c.exec("drop table scratch")
	c.exec("select pg_advisory_lock(4711)")
	held := 0
	for number := 0; number < 20; number++ {
		held += len(c.all("select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"))
	}
	c.say("advisory lock", held, c.all("select pg_advisory_unlock(4711)"))
	c.exec("declare kept cursor with hold for select generate_series(1, 9)")
	c.say("cursor with hold", c.all("fetch 2 from kept"), c.all("fetch 2 from kept"))
	c.exec("close kept")
	c.exec("prepare sum (int) as select $1 + 1", pgx.QuerySimpleProtocol(true))
	for number := 0; number < 5; number++ {
		c.say("sql prepare", c.all(fmt.Sprintf("execute sum(%d)", number), pgx.QuerySimpleProtocol(true)))
	}
	c.exec("deallocate sum", pgx.QuerySimpleProtocol(true))
}

func main() {
	clients, err := strconv.Atoi(os.Args[2])
	check(err)
	parts := map[string]func(*client){
		"everyday": (*client).everyday, "deallocate": (*client).deallocate,
		"set": (*client).set, "listen": (*client).listen, "hold": (*client).hold,
	}
	ctx, end := context.WithTimeout(context.Background(), 40*time.Second)
	defer end()
	var running sync.WaitGroup
	barrier.Add(clients)
	for number := 1; number <= clients; number++ {
		running.Add(1)
		go func(number int) {
			defer running.Done()
			c := connect(ctx, number)
			defer c.Close(ctx)
			parts[os.Args[3]](c)
		}(number)
	}
	running.Wait()
}
