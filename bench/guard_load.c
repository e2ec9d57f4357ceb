// The load of bench/guard: what it prints is one number, or two.
//   guard_load spawn N PROGRAM   microseconds for one posix_spawn and waitpid of PROGRAM: the
//                                median of N, and what the fastest quarter stays below
//   guard_load calls N           nanoseconds for one getppid(2) and one read(2) of a byte, of N:
//   what
//                                the fastest quarter stays below
//   guard_load filtered-calls N  the same under a seccomp filter that allows everything
//   guard_load wait SECONDS      nothing: waits
//   guard_load                   nothing
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int in_order(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  if (argc < 3) return 0;
  const long n = atol(argv[2]);
  if (strcmp(argv[1], "spawn") == 0 && argc == 4) {
    double* took = n > 0 ? calloc((size_t)n, sizeof *took) : NULL;
    if (took == NULL) return 1;
    for (long i = 0; i < n; ++i) {
      char* arguments[] = {argv[3], NULL};
      pid_t child;
      int status = 0;
      const double begun = now();
      if (posix_spawn(&child, argv[3], NULL, NULL, arguments, environ) != 0) return 1;
      if (waitpid(child, &status, 0) != child || status != 0) return 2;
      took[i] = now() - begun;
    }
    qsort(took, (size_t)n, sizeof *took, in_order);
    printf("%.2f %.2f\n", took[n / 2] / 1e3, took[n / 4] / 1e3);
    return 0;
  }
  const int filtered = strcmp(argv[1], "filtered-calls") == 0;
  if (filtered) {
    struct sock_filter all = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog program = {1, &all};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, 2, &program) != 0)
      return 1;
  }
  if (filtered || strcmp(argv[1], "calls") == 0) {
    const int zero = open("/dev/zero", O_RDONLY);
    char byte;
    if (zero < 0) return 1;
    // In pieces that end before the scheduler has others run.
    enum { kPieces = 400 };
    static double took[kPieces];
    const long each = n / kPieces + 1;
    for (int piece = 0; piece < kPieces; ++piece) {
      const double begun = now();
      for (long i = 0; i < each; ++i) {
        syscall(SYS_getppid);
        if (read(zero, &byte, 1) != 1) return 1;
      }
      took[piece] = (now() - begun) / (double)each;
    }
    qsort(took, kPieces, sizeof *took, in_order);
    printf("%.2f\n", took[kPieces / 4]);
    return 0;
  }
  return strcmp(argv[1], "wait") == 0 && sleep((unsigned)n) != 0 ? 1 : 0;
}
