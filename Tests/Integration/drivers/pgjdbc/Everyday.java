import java.io.StringReader;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.ReentrantLock;
import org.postgresql.PGConnection;
import org.postgresql.PGResultSetMetaData;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyIn;
import org.postgresql.core.Field;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

// What a program does every day, statement by statement.
final class Everyday extends Client {
    // One sleeper at a time: whoever looks for it needs a server too.
    static final ReentrantLock cancelling = new ReentrantLock();

    Everyday(int me) throws SQLException {
        super(me, "");
    }

    void play() throws Exception {
        try (Statement statement = db.createStatement()) {
            List<Object> results = new ArrayList<>();
            boolean isRows = statement.execute("select 1, 'two'; select 3; set work_mem to '4MB'; select 4");
            for (; isRows || statement.getUpdateCount() >= 0; isRows = statement.getMoreResults()) {
                results.add(isRows ? collect(statement.getResultSet()) : statement.getUpdateCount());
            }
            say("simple", results);
        }
        int sum = 0;
        for (int number = 0; number < 50; number++) {
            sum += (Integer) rows("select ?::int + ?::int", number, me).get(0).get(0) - me;
            try (PreparedStatement insert = insert()) {
                bind(insert, id(number), "row " + number).executeUpdate();
            }
        }
        say("parametrised", sum);
        prepared();
        binary();
        batches();
        copies();
        cursors();
        errors();
        cancel();
        largeObject();
        for (String mode : List.of("simple", "extendedForPrepared", "extendedCacheEverything")) {
            try (Client other = new Client(me, "&preferQueryMode=" + mode)) {
                sum = other.exec("select 1; select 2");
                for (int number = 0; number < 20; number++) {
                    sum += (Integer) other.rows("select ?::int + ?::int", number, me).get(0).get(0);
                    sum += other.rows("select v from t where v = ?", "row of " + number).size();
                }
                say("query modes", mode, sum, other.rows("select ?::text || '!'", "it's"));
            }
        }
        exec("set timezone to 'Etc/GMT+" + me + "'");
        LinkedHashSet<Object> zones = new LinkedHashSet<>();
        for (int number = 0; number < 20; number++) {
            zones.add(rows("show timezone"));
        }
        say("time zone", zones);
        say("rows", rows("select count(*), sum(id) from t where id / 1000 = ?", me));
    }

    // A statement is named when it is executed for the fifth time; two clients share the text of one of these.
    void prepared() throws Exception {
        PreparedStatement mine = db.prepareStatement("select v || ' of client " + me + "' from t where id = ?");
        PreparedStatement shared = db.prepareStatement("select ?::int + " + me % 2);
        for (int number = 0; number < 20; number++) {
            Object found = List.of(rows(mine, id(number)), rows(shared, number));
            say(mine.unwrap(PGStatement.class).isUseServerPrepare() ? "prepared" : "not yet prepared", number, found);
        }
        PreparedStatement insert = insert();
        String again = sqlstate(() -> bind(insert, id(1), "again").executeUpdate());
        say("error", again, bind(insert, id(60), "after").executeUpdate());
    }

    // Results come in binary once the statement is named, for the types that the driver can read so.
    void binary() throws Exception {
        PreparedStatement types = db.prepareStatement("select ?::int2, ?::int8, ?::float4, ?::float8, ?::bytea,"
            + " ?::uuid, ?::timestamp, ?::date, ?::text, ?::bool, null::int, '{1,-2}'::int4[], '{a,NULL}'::text[],"
            + " 12.50::numeric, timestamptz '2024-02-29 12:00:00.5+00', time '12:34:56', '{\"a\": [1]}'::jsonb,"
            + " interval '1 day 2 hours'");
        UUID uuid = UUID.fromString("f47ac10b-58cc-4372-a567-0e02b2c3d479");
        for (int number = 0; number < 10; number++) {
            bind(types, (short) -5, 1L << 40, 1.5f, 2.25, new byte[] {0, 1, -1}, uuid,
                Timestamp.valueOf("2024-02-29 12:00:00.25"), java.sql.Date.valueOf("2024-02-29"), "grüße", true);
            ResultSet found = types.executeQuery();
            int format = found.getMetaData().unwrap(PGResultSetMetaData.class).getFormat(2);
            say(format == Field.BINARY_FORMAT ? "binary" : "text", number, collect(found));
        }
    }

    void batches() throws Exception {
        int first = 0;
        for (String options : List.of("", "&reWriteBatchedInserts=true", "&prepareThreshold=1")) {
            first += 100;
            try (Client other = new Client(me, options); PreparedStatement insert = other.insert()) {
                for (int number = first; number < first + 30; number++) {
                    bind(insert, id(number), "batch").addBatch();
                }
                String counts = Arrays.toString(insert.executeBatch());
                bind(insert, id(first + 40), "goes with its batch").addBatch();
                bind(insert, id(first), "again").addBatch();
                bind(insert, id(first + 41), "after the error").addBatch();
                say("batch", options, counts, sqlstate(insert::executeBatch));
            }
        }
        String sql = "insert into t values (?, ?)";
        try (PreparedStatement insert = db.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS);
                Statement several = db.createStatement()) {
            for (int number = 400; number < 420; number++) {
                bind(insert, id(number), "returned").addBatch();
                several.addBatch("update t set v = 'batch' where id = " + id(number));
            }
            insert.executeBatch();
            say("batch with keys", collect(insert.getGeneratedKeys()), Arrays.toString(several.executeBatch()));
        }
    }

    void copies() throws Exception {
        var copying = db.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder lines = new StringBuilder();
        for (int number = 500; number < 600; number++) {
            lines.append(id(number)).append("\tcopied\n");
        }
        long copied = copying.copyIn("copy t from stdin", new StringReader(lines.toString()));
        String again = sqlstate(() -> copying.copyIn("copy t from stdin", new StringReader(id(500) + "\tagain\n")));
        CopyIn broken = copying.copyIn("copy t from stdin");
        byte[] line = (id(600) + "\tgone\n").getBytes(StandardCharsets.UTF_8);
        broken.writeToCopy(line, 0, line.length);
        broken.cancelCopy();
        String mine = "select * from t where id between " + id(500) + " and " + id(700) + " order by id";
        StringWriter out = new StringWriter();
        long read = copying.copyOut("copy (" + mine + ") to stdout", out);
        say("copy", copied, again, read, out.toString().equals(lines.toString()));
    }

    // With a fetch size, and in a transaction, a portal is read in parts; other statements come in between.
    void cursors() throws Exception {
        db.setAutoCommit(false);
        PreparedStatement[] series = {
            db.prepareStatement("select generate_series(1, 20) + ?"),
            db.prepareStatement("select generate_series(1, 9) * ?"),
        };
        ResultSet[] open = new ResultSet[2];
        List<Object> found = new ArrayList<>();
        for (int index = 0; index < 2; index++) {
            series[index].setFetchSize(3 + index);
            open[index] = bind(series[index], me).executeQuery();
        }
        for (int number = 0; number < 8; number++) {
            for (ResultSet rows : open) {
                rows.next();
                found.add(rows.getInt(1));
            }
            found.add(rows("select ?::int", -number));
        }
        open[1].close();
        found.add(collect(open[0]).size());
        db.commit();
        db.setAutoCommit(true);
        say("cursor", found);
    }

    void errors() throws Exception {
        PreparedStatement insert = insert();
        db.setAutoCommit(false);
        bind(insert, id(900), "gone").executeUpdate();
        String first = sqlstate(() -> bind(insert, id(1), "again").executeUpdate());
        String second = sqlstate(() -> exec("select 1"));
        String commit = sqlstate(db::commit);
        say("error in a transaction", first, second, commit);
        db.rollback();
        var savepoint = db.setSavepoint("s");
        first = sqlstate(() -> bind(insert, id(1), "again").executeUpdate());
        db.rollback(savepoint);
        bind(insert, id(901), "stays").executeUpdate();
        db.commit();
        db.setAutoCommit(true);
        say("savepoint", first);
        try (Client other = new Client(me, "&autosave=always"); PreparedStatement saved = other.insert()) {
            other.db.setAutoCommit(false);
            bind(saved, id(902), "stays").executeUpdate();
            first = sqlstate(() -> bind(saved, id(1), "again").executeUpdate());
            bind(saved, id(903), "stays too").executeUpdate();
            other.db.commit();
            say("autosave", first);
        }
    }

    void cancel() throws Exception {
        cancelling.lock();
        try (Statement sleep = db.createStatement(); Client watcher = new Client(me, "")) {
            String mark = "select pg_sleep(60) /* pgjdbc " + me + " " + ProcessHandle.current().pid() + " */";
            CompletableFuture<String> ended = new CompletableFuture<>();
            new Thread(() -> {
                try {
                    ended.complete(sqlstate(() -> sleep.execute(mark)));
                } catch (Exception error) {
                    ended.completeExceptionally(error);
                }
            }).start();
            String looks = "select 1 from pg_stat_activity where state = 'active' and query = ?";
            while (watcher.rows(looks, mark).isEmpty()) {
                Thread.sleep(5);
            }
            sleep.cancel();
            say("cancel", ended.get(), rows("select 'alive'"));
        } finally {
            cancelling.unlock();
        }
        try (Statement sleep = db.createStatement()) {
            sleep.setQueryTimeout(1);
            say("query timeout", sqlstate(() -> sleep.execute("select pg_sleep(60)")), rows("select 'alive'"));
        }
    }

    // Large objects go by the protocol's function calls.
    void largeObject() throws Exception {
        LargeObjectManager manager = db.unwrap(PGConnection.class).getLargeObjectAPI();
        db.setAutoCommit(false);
        long number = manager.createLO();
        try (LargeObject object = manager.open(number, LargeObjectManager.WRITE)) {
            object.write(("client " + me + " ").repeat(2000).getBytes(StandardCharsets.UTF_8));
        }
        db.commit();
        try (LargeObject object = manager.open(number, LargeObjectManager.READ)) {
            say("large object", Arrays.hashCode(object.read(1 << 20)));
        }
        manager.delete(number);
        db.commit();
        db.setAutoCommit(true);
    }
}
