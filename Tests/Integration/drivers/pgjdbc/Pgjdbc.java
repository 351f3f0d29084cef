// pgjdbc at its defaults, one thread for each client: PORT CLIENTS PART.
// Prints one JSON line for each step of each client. (Its own cursors end with their transaction; one WITH HOLD is SQL.)
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CyclicBarrier;

final class Pgjdbc {
    static void play(int me, String part) {
        try {
            if (part.equals("everyday")) {
                try (Everyday client = new Everyday(me)) {
                    client.play();
                }
            } else {
                try (Session client = new Session(me)) {
                    client.play(part);
                }
            }
        } catch (Exception error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    public static void main(String[] words) throws InterruptedException {
        int clients = Integer.parseInt(words[1]);
        Client.port = words[0];
        Client.barrier = new CyclicBarrier(clients);
        List<Thread> threads = new ArrayList<>();
        for (int number = 1; number <= clients; number++) {
            int me = number;
            threads.add(new Thread(() -> play(me, words[2])));
        }
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
    }
}
