// Go's lib/pq at its defaults, through database/sql's pool: PORT CLIENTS PART.
// Prints one JSON line for each step of each client.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/lib/pq"
)

var (
	printing   sync.Mutex
	cancelling sync.Mutex // one sleeper at a time: whoever looks for it needs a server too
	barrier    sync.WaitGroup
)

type client struct {
	*sql.DB
	context.Context
	number int
}

// What both the pool and one connection or transaction of it can do.
type queryer interface {
	QueryContext(context.Context, string, ...interface{}) (*sql.Rows, error)
	ExecContext(context.Context, string, ...interface{}) (sql.Result, error)
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
	var found *pq.Error
	if errors.As(err, &found) {
		return string(found.Code)
	}
	return fmt.Sprint(err)
}

func address(more string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%s user=app dbname=app sslmode=disable %s", os.Args[1], more)
}

func collect(rows *sql.Rows, err error) (found [][]interface{}) {
	check(err)
	defer rows.Close()
	columns, err := rows.Columns()
	check(err)
	for rows.Next() {
		values, places := make([]interface{}, len(columns)), make([]interface{}, len(columns))
		for index := range values {
			places[index] = &values[index]
		}
		check(rows.Scan(places...))
		for index, value := range values {
			if data, is := value.([]byte); is {
				values[index] = string(data)
			}
		}
		found = append(found, values)
	}
	check(rows.Err())
	return found
}

func (c *client) all(on queryer, sql string, arguments ...interface{}) [][]interface{} {
	return collect(on.QueryContext(c, sql, arguments...))
}

func (c *client) exec(on queryer, sql string, arguments ...interface{}) int64 {
	result, err := on.ExecContext(c, sql, arguments...)
	check(err)
	count, err := result.RowsAffected()
	check(err)
	return count
}

func (c *client) id(number int) int { return c.number*1000 + number }

func (c *client) everyday() {
	c.say("simple", c.all(c, "select 1, 'two'"))
	sum := 0
	for number := 0; number < 50; number++ {
		var got int
		check(c.QueryRowContext(c, "select $1::int + $2::int", number, c.number).Scan(&got))
		sum += got - c.number
		c.exec(c, "insert into t values ($1, $2)", c.id(number), fmt.Sprint("row ", number))
	}
	c.say("parametrised", sum)
	prepared, err := c.PrepareContext(c, fmt.Sprintf("select v || ' of client %d' from t where id = $1", c.number))
	check(err)
	for number := 0; number < 20; number++ {
		c.say("prepared", number, collect(prepared.QueryContext(c, c.id(number))))
	}
	check(prepared.Close())
	types := "select $1::int2, $2::int8, $3::float8, $4::text, $5::bytea, $6::int4[], $7::timestamptz, $8::bool," +
		" null::date, '{\"a\": [1]}'::jsonb, '1 day 2 hours'::interval, 12.50::numeric"
	arguments := []interface{}{-5, int64(1) << 40, 1.5, "grüße", []byte{1, 255}, pq.Array([]int{1, -2}),
		time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), true}
	c.say("types", c.all(c, types, arguments...))
	binary, err := sql.Open("postgres", address("binary_parameters=yes"))
	check(err)
	for number := 0; number < 10; number++ {
		c.say("binary", number, c.all(binary, "select $1::int8, $2::bytea", number, []byte{1, 255}))
	}
	check(binary.Close())
	c.copies()
	c.cursor()
	c.errors()
	c.cancel()
	conn, err := c.Conn(c)
	check(err)
	c.exec(conn, fmt.Sprintf("set timezone to 'Etc/GMT+%d'", c.number))
	for number := 0; number < 20; number++ {
		if zone := fmt.Sprint(c.all(conn, "show timezone")); zone != fmt.Sprintf("[[Etc/GMT+%d]]", c.number) {
			c.say("a stranger's time zone", zone)
		}
	}
	c.exec(conn, "reset timezone")
	check(conn.Close())
	c.say("rows", c.all(c, "select count(*), sum(id) from t where id / 1000 = $1", c.number))
}

func (c *client) copies() {
	insert := func(first, last int) error {
		tx, err := c.BeginTx(c, nil)
		check(err)
		defer tx.Rollback()
		copying, err := tx.PrepareContext(c, pq.CopyIn("t", "id", "v"))
		check(err)
		for number := first; number < last; number++ {
			if _, err = copying.ExecContext(c, c.id(number), "copied"); err != nil {
				return err
			}
		}
		if _, err = copying.ExecContext(c); err != nil {
			return err
		}
		check(copying.Close())
		return tx.Commit()
	}
	c.say("copy", insert(200, 300), " ", sqlstate(insert(299, 301)))
}

func (c *client) cursor() {
	tx, err := c.BeginTx(c, nil)
	check(err)
	c.exec(tx, fmt.Sprintf("declare mine cursor for select generate_series(1, 20) + %d", c.number))
	c.say("cursor", c.all(tx, "fetch 3 from mine"), c.all(tx, "fetch 2 from mine"))
	check(tx.Commit())
}

func (c *client) errors() {
	tx, err := c.BeginTx(c, nil)
	check(err)
	c.exec(tx, "insert into t values ($1, $2)", c.id(900), "gone")
	_, err = tx.ExecContext(c, "insert into t values ($1, $2)", c.id(1), "again")
	_, second := tx.ExecContext(c, "select 1")
	commit := tx.Commit()
	c.say("error in a transaction", sqlstate(err), " ", sqlstate(second), " ", commit)
	tx, err = c.BeginTx(c, &sql.TxOptions{Isolation: sql.LevelSerializable})
	check(err)
	c.exec(tx, "savepoint s")
	_, err = tx.ExecContext(c, "select 1 / $1::int", 0)
	c.exec(tx, "rollback to s")
	c.exec(tx, "insert into t values ($1, $2)", c.id(901), "stays")
	c.say("savepoint", sqlstate(err), c.all(tx, "show transaction_isolation"))
	check(tx.Commit())
}

func (c *client) cancel() {
	cancelling.Lock()
	defer cancelling.Unlock()
	ending, end := context.WithCancel(c.Context)
	done := make(chan error, 1)
	mark := fmt.Sprintf("select pg_sleep(60) /* lib/pq %d %d */", c.number, os.Getpid())
	go func() { _, err := c.ExecContext(ending, mark); done <- err }()
	looks := "select count(*)::text from pg_stat_activity where state = 'active' and query = $1"
	for fmt.Sprint(c.all(c, looks, mark)) != "[[1]]" {
		time.Sleep(5 * time.Millisecond)
	}
	end()
	c.say("cancel by context", sqlstate(<-done), c.all(c, "select 'alive'"))
}

func (c *client) set() {
	conn, err := c.Conn(c)
	check(err)
	defer conn.Close()
	c.exec(conn, fmt.Sprintf("set statement_timeout to %d", 10000+c.number))
	c.all(conn, "select set_config('search_path', $1, false)", fmt.Sprintf("of_%d, public", c.number))
	c.exec(conn, "begin; set local work_mem to '1234kB'; commit")
	c.exec(conn, "begin; set lock_timeout to 77; rollback")
	barrier.Done()
	barrier.Wait()
	seen := map[string]int{}
	for number := 0; number < 30; number++ {
		seen[fmt.Sprint(c.all(conn, "select current_setting('statement_timeout'), current_setting('search_path'),"+
			" current_setting('work_mem'), current_setting('lock_timeout')"))]++
	}
	c.say("set", seen)
	c.exec(conn, "reset statement_timeout")
	c.exec(conn, "reset all")
	c.say("reset", c.all(conn, "select current_setting('statement_timeout'), current_setting('search_path')"))
}

func (c *client) listen() {
	listener := pq.NewListener(address(""), time.Second, time.Second, nil)
	defer listener.Close()
	check(listener.Listen("everyone"))
	check(listener.Listen(fmt.Sprintf("mine_%d", c.number)))
	barrier.Done()
	barrier.Wait()
	c.all(c, "select pg_notify('everyone', $1)", fmt.Sprint("from ", c.number))
	c.all(c, "select pg_notify($1, 'to me')", fmt.Sprintf("mine_%d", c.number))
	heard := map[string]bool{}
	clients, _ := strconv.Atoi(os.Args[2])
	for len(heard) < clients+1 {
		select {
		case notification := <-listener.Notify:
			heard[notification.Channel+": "+notification.Extra] = true
		case <-c.Done():
			panic(fmt.Sprint("heard only ", heard))
		}
	}
	c.say("heard", heard)
	check(listener.UnlistenAll())
	c.say("still", listener.Ping())
}

func (c *client) hold() {
	conn, err := c.Conn(c)
	check(err)
	defer conn.Close()
	if c.number > 1 {
		sum := 0
		for number := 0; number < 100; number++ {
			sum += len(c.all(conn, "select $1::int", number))
		}
		c.say("beside a holder", sum)
		return
	}
	c.exec(conn, "create temporary table scratch (i int)")
	for number := 0; number < 30; number++ {
		c.exec(conn, "insert into scratch values ($1)", number)
	}
	c.say("temporary table", c.all(conn, "select count(*), sum(i) from scratch"))
	c.exec(conn, "drop table scratch")
	c.all(conn, "select pg_advisory_lock(4712)")
	held := 0
	for number := 0; number < 20; number++ {
		held += len(c.all(conn, "select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"))
	}
	c.say("advisory lock", held, c.all(conn, "select pg_advisory_unlock(4712)"))
	c.exec(conn, "declare kept cursor with hold for select generate_series(1, 9)")
	c.say("cursor with hold", c.all(conn, "fetch 2 from kept"), c.all(conn, "fetch 2 from kept"))
	c.exec(conn, "close kept")
	c.exec(conn, "prepare sum (int) as select $1 + 1")
	for number := 0; number < 5; number++ {
		c.say("sql prepare", c.all(conn, fmt.Sprintf("execute sum(%d)", number)))
	}
	c.exec(conn, "deallocate sum")
}

func main() {
	clients, err := strconv.Atoi(os.Args[2])
	check(err)
	parts := map[string]func(*client){
		"everyday": (*client).everyday, "set": (*client).set, "listen": (*client).listen, "hold": (*client).hold,
	}
	ctx, end := context.WithTimeout(context.Background(), 40*time.Second)
	defer end()
	db, err := sql.Open("postgres", address(""))
	check(err)
	db.SetMaxIdleConns(2 * clients)
	var running sync.WaitGroup
	barrier.Add(clients)
	for number := 1; number <= clients; number++ {
		running.Add(1)
		go func(number int) {
			defer running.Done()
			parts[os.Args[3]](&client{db, ctx, number})
		}(number)
	}
	running.Wait()
	check(db.Close())
}
