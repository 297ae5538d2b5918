"""The programs that `benchmarks.bench_wordcount` compares; each is started in a new process."""
