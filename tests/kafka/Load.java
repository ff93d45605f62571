import java.io.*;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.*;

/**
 * load DIR [rate=N] [replicas=N]
 *                     Everything at once, until standard input ends: idempotent producers of every codec, transactions of
 *                     which some abort, a plain producer with large records, a compacted topic, one whose oldest
 *                     segments go by size, topics that come and go, a group that commits. Two consumers write down each
 *                     record that they see, as DIR/history: `u` or `c` (uncommitted, committed), topic, partition,
 *                     offset, hash of the key, hash of timestamp, key, value and headers.
 *                     Each line on standard input is answered by one JSON line: `mark` with what is acknowledged
 *                     (`acked`: next offset), where logs begin (`starts`), and what is committed (`commits`).
 * records FILE        The same lines, of what a broker has now; prints the ends, the last stable offsets and the starts, and
 *                     where logs begin after all was read (`left`): segments may go meanwhile.
 */
class Load {
  static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
  /** The topics that stay, with their partitions. */
  static final Map<String, Integer> TOPICS = new TreeMap<>(Map.of("mixed", 3, "paid", 2, "plain", 1, "latest", 2, "short", 2));

  final Map<TopicPartition, Long> acked = new ConcurrentHashMap<>();
  final Map<TopicPartition, Long> commits = new ConcurrentHashMap<>();
  final AtomicLong failed = new AtomicLong();
  final long rate;
  volatile boolean over;
  /** Where the history ends, once no more is written. */
  volatile Map<TopicPartition, Long> ends;
  PrintWriter history;

  Load(long rate) { this.rate = rate; }

  interface Work { void run() throws Exception; }

  static void load(String dir, long rate) throws Exception { new Load(rate).run(Path.of(dir)); }

  void run(Path dir) throws Exception {
    Map<String, Map<String, String>> configs = Map.of(
        "mixed", Map.of("internal.segment.bytes", "150000", "retention.ms", "-1"),
        "paid", Map.of("internal.segment.bytes", "60000", "retention.ms", "-1"),
        "plain", Map.of("internal.segment.bytes", "4500000", "retention.ms", "-1", "max.message.bytes", "4000000"),
        "latest", Map.of("internal.segment.bytes", "40000", "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01",
            "delete.retention.ms", "100", "segment.ms", "3000"),
        "short", Map.of("internal.segment.bytes", "60000", "retention.bytes", "200000"));
    try (Admin a = Client.admin()) {
      Set<String> there = a.listTopics().names().get();
      for (var t : TOPICS.entrySet()) {
        if (!there.contains(t.getKey())) Client.createTopic(t.getKey(), t.getValue(), configs.get(t.getKey()));
      }
    }
    history = new PrintWriter(new BufferedWriter(new FileWriter(dir.resolve("history").toFile(), true), 1 << 20));
    List<Thread> writers = new ArrayList<>(), readers = new ArrayList<>();
    for (String codec : CODECS) writers.add(start("codec " + codec, () -> produce(codec)));
    writers.add(start("transactions", this::transactions));
    writers.add(start("plain", this::plain));
    writers.add(start("compacted", () -> keyed("latest", 40)));
    writers.add(start("short", () -> keyed("short", 0)));
    writers.add(start("churn", this::churn));
    writers.add(start("group", this::group));
    readers.add(start("uncommitted", () -> follow("read_uncommitted", 'u')));
    readers.add(start("committed", () -> follow("read_committed", 'c')));
    var in = new BufferedReader(new InputStreamReader(System.in));
    System.out.println("{\"loading\":true}");
    for (String line = in.readLine(); line != null; line = in.readLine()) System.out.println(mark());
    over = true;
    for (Thread t : writers) t.join();
    ends = offsets(OffsetSpec.latest(), IsolationLevelOf.uncommitted());
    for (Thread t : readers) t.join();
    history.close();
    System.out.println(mark());
    if (failed.get() > 0) System.exit(1);
  }

  /** A client has to live through the broker's leaving: whoever kills it ends this process first. */
  Thread start(String name, Work work) {
    Thread t = new Thread(() -> {
      try {
        work.run();
      } catch (Exception e) {
        System.err.println(name + ": " + e);
        failed.incrementAndGet();
      }
    }, name);
    t.start();
    return t;
  }

  String mark() throws Exception {
    // In this order: what is acknowledged was acknowledged before the answer.
    String done = map(acked), committed = map(commits);
    return "{\"acked\":" + done + ",\"commits\":" + committed + ",\"starts\":"
        + map(offsets(OffsetSpec.earliest(), IsolationLevelOf.uncommitted())) + ",\"failed\":" + failed + "}";
  }

  static String map(Map<TopicPartition, Long> m) {
    return m.entrySet().stream().sorted(Comparator.comparing(e -> e.getKey().toString()))
        .map(e -> "\"" + e.getKey() + "\":" + e.getValue()).collect(Collectors.joining(",", "{", "}"));
  }

  static List<TopicPartition> partitions() {
    return TOPICS.entrySet().stream()
        .flatMap(t -> java.util.stream.IntStream.range(0, t.getValue()).mapToObj(p -> new TopicPartition(t.getKey(), p))).toList();
  }

  static class IsolationLevelOf {
    static ListOffsetsOptions committed() { return new ListOffsetsOptions(org.apache.kafka.common.IsolationLevel.READ_COMMITTED); }
    static ListOffsetsOptions uncommitted() { return new ListOffsetsOptions(); }
  }

  static Map<TopicPartition, Long> offsets(OffsetSpec spec, ListOffsetsOptions options) throws Exception {
    try (Admin a = Client.admin()) {
      Map<TopicPartition, OffsetSpec> asked = partitions().stream().collect(Collectors.toMap(p -> p, p -> spec));
      Map<TopicPartition, Long> found = new TreeMap<>(Comparator.comparing(TopicPartition::toString));
      for (var e : a.listOffsets(asked, options).all().get().entrySet()) found.put(e.getKey(), e.getValue().offset());
      return found;
    }
  }

  KafkaProducer<byte[], byte[]> producer(Object... more) {
    Properties p = Client.with("acks", "all", "linger.ms", 5, "delivery.timeout.ms", 20000, "request.timeout.ms", 10000,
        "max.request.size", 4000000);
    for (int i = 0; i < more.length; i += 2) p.put(more[i], more[i + 1].toString());
    return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
  }

  void send(KafkaProducer<byte[], byte[]> p, ProducerRecord<byte[], byte[]> r) {
    p.send(r, (meta, error) -> {
      if (error == null) acked.merge(new TopicPartition(meta.topic(), meta.partition()), meta.offset() + 1, Math::max);
      else if (!(error instanceof org.apache.kafka.common.errors.TransactionAbortedException)) {
        System.err.println(r.topic() + ": " + error);
        failed.incrementAndGet();
      }
    });
  }

  void pace(long began, long sent, long perSecond) throws InterruptedException {
    long ahead = sent * 1_000_000_000L / perSecond - (System.nanoTime() - began);
    if (ahead > 1_000_000) Thread.sleep(ahead / 1_000_000);
  }

  static ProducerRecord<byte[], byte[]> record(String topic, int partitions, long n, String key, int size, int headers) {
    var r = new ProducerRecord<>(topic, (int) (n % partitions), key == null ? null : Client.bytes(key),
        size < 0 ? null : Client.value(n, size, n % 3 == 0));
    for (int h = 0; h < headers; h++) r.headers().add("header-" + h, Client.bytes("h" + n));
    return r;
  }

  void produce(String codec) throws Exception {
    try (var p = producer("compression.type", codec)) {
      long began = System.nanoTime();
      for (long n = 0; !over; n++) {
        send(p, record("mixed", 3, n, "key-" + n, 150 + (int) (n % 200), (int) (n % 3)));
        pace(began, n, rate);
      }
      p.flush();
    }
  }

  void transactions() throws Exception {
    try (var p = producer("transactional.id", "payer-" + ProcessHandle.current().pid(), "compression.type", "lz4")) {
      p.initTransactions();
      long n = 0, began = System.nanoTime();
      for (long txn = 0; !over; txn++) {
        p.beginTransaction();
        for (int i = 0; i < 20; i++) send(p, record("paid", 2, n++, "payment-" + n, 120, 1));
        p.flush();
        if (txn % 4 == 3) p.abortTransaction();
        else p.commitTransaction();
        pace(began, n, rate);
      }
    }
  }

  void plain() throws Exception {
    try (var p = producer("enable.idempotence", false, "acks", "1")) {
      long began = System.nanoTime();
      for (long n = 0; !over; n++) {
        send(p, record("plain", 1, n, null, n % 200 == 199 ? 3_000_000 : 100, 0));
        pace(began, n, rate);
      }
      p.flush();
    }
  }

  /** With `keys` 0 every record has a key of its own. */
  void keyed(String topic, int keys) throws Exception {
    try (var p = producer("compression.type", keys == 0 ? "none" : "snappy")) {
      long began = System.nanoTime();
      for (long n = 0; !over; n++) {
        String key = "key-" + (keys == 0 ? n : n / 2 % keys);
        send(p, record(topic, 2, n, key, keys > 0 && n % 50 == 49 ? -1 : 200, 0));
        pace(began, n, rate);
      }
      p.flush();
    }
  }

  void churn() throws Exception {
    try (var p = producer()) {
      Deque<String> made = new ArrayDeque<>();
      for (int n = 0; !over; n++) {
        String topic = "comes-and-goes." + ProcessHandle.current().pid() + "-" + n;
        Client.createTopic(topic, 2, Map.of("internal.segment.bytes", "20000"));
        made.add(topic);
        for (int i = 0; i < 200; i++) {
          p.send(record(topic, 2, i, "key-" + i, 200, 0), (meta, error) -> { });
        }
        p.flush();
        Thread.sleep(300);
        if (made.size() > 2) {
          try (Admin a = Client.admin()) { a.deleteTopics(List.of(made.remove())).all().get(); }
        }
      }
    }
  }

  void group() throws Exception {
    Properties p = Client.with("group.id", "readers", "auto.offset.reset", "earliest", "enable.auto.commit", false);
    try (var c = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      c.subscribe(List.of("mixed", "paid"));
      while (!over) {
        if (c.poll(Duration.ofMillis(100)).isEmpty()) continue;
        Map<TopicPartition, OffsetAndMetadata> at = new HashMap<>();
        for (TopicPartition tp : c.assignment()) at.put(tp, new OffsetAndMetadata(c.position(tp)));
        c.commitSync(at);
        at.forEach((tp, offset) -> commits.merge(tp, offset.offset(), Math::max));
      }
    }
  }

  static Properties reader(String isolation) {
    return Client.with("isolation.level", isolation, "auto.offset.reset", "earliest", "check.crcs", "true",
        "max.poll.records", 10000, "max.partition.fetch.bytes", 32 << 20);
  }

  void follow(String isolation, char mark) throws Exception {
    try (var c = new KafkaConsumer<>(reader(isolation), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      c.assign(partitions());
      long deadline = Long.MAX_VALUE;
      while (true) {
        for (var r : c.poll(Duration.ofMillis(100))) {
          String line = line(mark, r);
          synchronized (history) { history.println(line); }
        }
        if (ends == null) continue;
        if (deadline == Long.MAX_VALUE) deadline = System.currentTimeMillis() + 30_000;
        boolean all = true;
        for (var end : ends.entrySet()) all &= c.position(end.getKey()) >= end.getValue();
        if (all) return;
        if (System.currentTimeMillis() > deadline) throw new IllegalStateException("the history is not complete");
      }
    }
  }

  static String line(char mark, ConsumerRecord<byte[], byte[]> r) throws Exception {
    return mark + " " + r.topic() + " " + r.partition() + " " + r.offset() + " " + (r.key() == null ? "-" : hash(r.key()))
        + " " + hash(r);
  }

  static String hash(byte[] bytes) throws Exception {
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes), 0, 8);
  }

  static String hash(ConsumerRecord<byte[], byte[]> r) throws Exception {
    MessageDigest d = MessageDigest.getInstance("SHA-256");
    d.update(ByteBuffer.allocate(12).putLong(r.timestamp()).putInt(r.timestampType().id).flip());
    field(d, r.key());
    field(d, r.value());
    for (Header h : r.headers()) { field(d, Client.bytes(h.key())); field(d, h.value()); }
    return HexFormat.of().formatHex(d.digest(), 0, 8);
  }

  static void field(MessageDigest d, byte[] b) {
    d.update(ByteBuffer.allocate(4).putInt(b == null ? -1 : b.length).flip());
    if (b != null) d.update(b);
  }

  static void records(String file) throws Exception {
    try (var out = new PrintWriter(new BufferedWriter(new FileWriter(file), 1 << 20))) {
      var starts = offsets(OffsetSpec.earliest(), IsolationLevelOf.uncommitted());
      var ends = offsets(OffsetSpec.latest(), IsolationLevelOf.uncommitted());
      var stable = offsets(OffsetSpec.latest(), IsolationLevelOf.committed());
      for (String isolation : List.of("read_uncommitted", "read_committed")) {
        boolean all = isolation.equals("read_uncommitted");
        var until = all ? ends : stable;
        try (var c = new KafkaConsumer<>(reader(isolation), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
          for (TopicPartition tp : partitions()) {
            c.assign(List.of(tp));
            c.seekToBeginning(List.of(tp));
            long deadline = System.currentTimeMillis() + 30_000;
            while (c.position(tp) < until.get(tp)) {
              for (var r : c.poll(Duration.ofMillis(200))) {
                if (r.offset() < until.get(tp)) out.println(line(all ? 'u' : 'c', r));
              }
              if (System.currentTimeMillis() > deadline) throw new IllegalStateException(tp + ": stuck at " + c.position(tp));
            }
          }
        }
      }
      var left = offsets(OffsetSpec.earliest(), IsolationLevelOf.uncommitted());
      System.out.println("{\"starts\":" + map(starts) + ",\"ends\":" + map(ends) + ",\"stable\":" + map(stable)
          + ",\"left\":" + map(left) + "}");
    }
  }
}
