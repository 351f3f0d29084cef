// node-postgres at its defaults: PORT CLIENTS PART.
// Prints one JSON line for each step of each client.
'use strict';
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');

const [port, clients, part] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const address = { host: '127.0.0.1', port, user: 'app', database: 'app', password: process.env.PGPASSWORD, ssl: false };

function say(client, step, ...values) {
  console.log(JSON.stringify({ client, step, values }));
}

async function rows(on, sql, values) {
  return (await on.query(sql, values)).rows;
}

async function sqlstate(promise) {
  try {
    await promise;
    return 'no error';
  } catch (error) {
    return error.code || String(error);
  }
}

// Resolves for everybody when all clients have come here.
let arrived = 0;
let openBarrier;
const opened = new Promise((resolve) => { openBarrier = resolve; });
function barrier() {
  arrived += 1;
  if (arrived === clients) openBarrier();
  return opened;
}

// One sleeper at a time: whoever looks for it needs a server too.
let lastSleeper = Promise.resolve();
function oneByOne(act) {
  const mine = lastSleeper.then(act);
  lastSleeper = mine.catch(() => {});
  return mine;
}

async function everyday(db, me) {
  const id = (number) => me * 1000 + number;
  say(me, 'simple', await rows(db, "select 1 as one, 'two' as two"), (await db.query('select 1; select 2')).map((r) => r.rows));
  let sum = 0;
  for (let number = 0; number < 50; number++) {
    sum += (await rows(db, 'select $1::int + $2::int as sum', [number, me]))[0].sum - me;
    await db.query('insert into t values ($1, $2)', [id(number), `row ${number}`]);
  }
  say(me, 'parametrised', sum);
  for (let number = 0; number < 20; number++) {
    const named = { name: 'mine', text: `select v || ' of client ${me}' as v from t where id = $1`, values: [id(number)] };
    const shared = { name: `shared ${me % 2}`, text: 'select $1::int + 1 as more', values: [number] };
    say(me, 'prepared', number, await rows(db, named), await rows(db, shared));
  }
  say(me, 'prepared error', await sqlstate(db.query({ name: 'bad', text: 'select 1 / $1::int', values: [0] })),
    await sqlstate(db.query({ name: 'mine', text: 'select 2' })) !== 'no error');
  const types = "select $1::int2 as a, $2::int8 as b, $3::float8 as c, $4::text as d, $5::bytea as e, $6::int4[] as f,"
    + " $7::timestamptz as g, $8::bool as h, null::date as i, '{\"a\": [1]}'::jsonb as j, 12.50::numeric as k";
  const values = [-5, '1099511627776', 1.5, 'grüße', Buffer.from([0, 1, 255]), [1, -2], new Date(0), true];
  // A Buffer goes in binary. Version 8.8 cannot ask for binary results: its Bind counts a format and names none.
  say(me, 'types', await rows(db, types, values));
  // Queued by the driver, sent one after the other.
  const queued = [...Array(20).keys()].map((number) => rows(db, 'select $1::int as n', [number]));
  say(me, 'queued', (await Promise.all(queued)).map((found) => found[0].n));
  await cursors(db, me);
  await errors(db, me, id);
  await cancel(db, me);
  await db.query(`set timezone to 'Etc/GMT+${me}'`);
  const zones = new Set();
  for (let number = 0; number < 20; number++) zones.add((await rows(db, 'show timezone'))[0].TimeZone);
  say(me, 'time zone', [...zones]);
  await pool(me, id);
  say(me, 'rows', await rows(db, 'select count(*), sum(id) from t where id / 1000 = $1', [me]));
}

async function cursors(db, me) {
  await db.query('begin');
  const cursor = db.query(new Cursor('select generate_series(1, $1::int) as n', [20]));
  const parts = [await cursor.read(3), await cursor.read(4)];
  await cursor.close();
  await db.query('commit');
  say(me, 'cursor', parts);
  // Without a transaction around it the portal lives until the driver's Sync, which comes at the end.
  const numbers = [];
  for await (const row of db.query(new QueryStream('select generate_series(1, 250) + $1::int as n', [me]))) {
    numbers.push(row.n);
  }
  say(me, 'stream', numbers.length, numbers[249]);
}

async function errors(db, me, id) {
  await db.query('begin');
  await db.query('insert into t values ($1, $2)', [id(900), 'gone']);
  const first = await sqlstate(db.query('insert into t values ($1, $2)', [id(1), 'again']));
  const second = await sqlstate(db.query('select 1'));
  say(me, 'error in a transaction', first, second, (await db.query('commit')).command);
  await db.query('begin');
  await db.query('savepoint s');
  const inner = await sqlstate(db.query({ name: 'insert', text: 'insert into t values ($1, $2)', values: [id(1), 'again'] }));
  await db.query('rollback to s');
  await db.query({ name: 'insert', text: 'insert into t values ($1, $2)', values: [id(901), 'stays'] });
  await db.query('commit');
  say(me, 'savepoint', inner);
}

function cancel(db, me) {
  return oneByOne(async () => {
    const sleep = new (require('pg').Query)(`select pg_sleep(60) /* node-pg ${me} ${process.pid} */`);
    const ended = new Promise((resolve) => {
      sleep.once('error', (error) => resolve(error.code));
      sleep.once('end', () => resolve('no error'));
    });
    db.query(sleep);
    const watcher = new Client(address);
    await watcher.connect();
    const looks = "select count(*)::int as n from pg_stat_activity where state = 'active' and query = $1";
    while ((await rows(watcher, looks, [sleep.text]))[0].n !== 1);
    await watcher.end();
    new Client(address).cancel(db, sleep);
    say(me, 'cancel', await ended, await rows(db, "select 'alive' as is"));
  });
}

async function pool(me, id) {
  const mine = new Pool({ ...address, max: 3 });
  const inserts = [...Array(30).keys()].map((number) => mine.query('insert into t values ($1, $2)', [id(500 + number), 'pooled']));
  await Promise.all(inserts);
  const named = [...Array(30).keys()].map((number) => mine.query({ name: 'one', text: 'select v, id from t where id = $1', values: [id(500 + number)] }));
  const ids = (await Promise.all(named)).map((result) => result.rows[0].id);
  const checkedOut = await mine.connect();
  await checkedOut.query('begin');
  await checkedOut.query('delete from t where id = $1', [id(500)]);
  await checkedOut.query('rollback');
  checkedOut.release();
  await mine.end();
  say(me, 'pool', ids);
}

async function set(db, me) {
  await db.query(`set statement_timeout to ${10000 + me}`);
  await db.query("select set_config('search_path', $1, false)", [`of_${me}, public`]);
  await db.query("begin; set local work_mem to '1234kB'; commit");
  await db.query('begin; set lock_timeout to 77; rollback');
  await barrier();
  const seen = {};
  for (let number = 0; number < 30; number++) {
    const settings = await rows(db, "select current_setting('statement_timeout') as a, current_setting('search_path') as b,"
      + " current_setting('work_mem') as c, current_setting('lock_timeout') as d", []);
    seen[JSON.stringify(settings)] = (seen[JSON.stringify(settings)] || 0) + 1;
  }
  say(me, 'set', seen);
  await db.query('reset statement_timeout');
  await db.query('reset all');
  say(me, 'reset', await rows(db, "select current_setting('statement_timeout') as a, current_setting('search_path') as b"));
}

async function listen(db, me) {
  const heard = new Set();
  const all = new Promise((resolve) => {
    db.on('notification', ({ channel, payload }) => {
      heard.add(`${channel}: ${payload}`);
      if (heard.size === clients + 1) resolve();
    });
  });
  await db.query('listen everyone');
  await db.query(`listen mine_${me}`);
  await barrier();
  await db.query("select pg_notify('everyone', $1)", [`from ${me}`]);
  await db.query(`notify mine_${me}, 'to me'`);
  await all;
  say(me, 'heard', [...heard].sort());
  await db.query('unlisten *');
  say(me, 'still', await rows(db, "select 'alive' as is"));
}

async function hold(db, me) {
  if (me > 1) {
    let sum = 0;
    for (let number = 0; number < 100; number++) sum += (await rows(db, 'select $1::int as n', [number])).length;
    say(me, 'beside a holder', sum);
    return;
  }
  await db.query('create temporary table scratch (i int)');
  for (let number = 0; number < 30; number++) await db.query('insert into scratch values ($1)', [number]);
  say(me, 'temporary table', await rows(db, 'select count(*), sum(i) from scratch'));
  await db.query('drop table scratch');
  await db.query('select pg_advisory_lock(4713)');
  let held = 0;
  for (let number = 0; number < 20; number++) {
    held += (await rows(db, "select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()", [])).length;
  }
  say(me, 'advisory lock', held, await rows(db, 'select pg_advisory_unlock(4713)'));
  await db.query('declare kept cursor with hold for select generate_series(1, 9) as n');
  say(me, 'cursor with hold', await rows(db, 'fetch 2 from kept'), await rows(db, 'fetch 2 from kept'));
  await db.query('close kept');
  await db.query('prepare sum (int) as select $1 + 1 as n');
  for (let number = 0; number < 5; number++) say(me, 'sql prepare', await rows(db, `execute sum(${number})`));
  await db.query('deallocate sum');
}

async function one(me) {
  const db = new Client(address);
  await db.connect();
  await { everyday, set, listen, hold }[part](db, me);
  await db.end();
}

Promise.all([...Array(clients).keys()].map((index) => one(index + 1))).catch((error) => {
  console.error(error);
  process.exit(1);
});
