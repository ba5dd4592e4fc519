/* A libnvidia-ml.so.1 that plays the scene in the file FAKE_NVML names, read anew at every call. Lines of a scene:
     init CODE                                  what nvmlInit answers
     count CODE                                 what nvmlDeviceGetCount answers
     gpu TOTAL USED CODE MIG UUID               one card, in MiB; CODE is what its calls answer, MIG 1: divided
     part CARD TOTAL USED INSTANCE              one MIG device of a card
     process CARD PID MIB                       (MIB -1: not available)
     fails FUNCTION CODE                        one function answers this for every card
   Built with -DOLD it lacks what old drivers lack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;
typedef struct { u64 total, free, used; } memory;
typedef struct { unsigned pid; u64 used; unsigned gpu, compute; } process;
typedef struct { long total, used, code, mig; char uuid[64]; } card;
typedef struct { int card; long total, used; unsigned instance; } part;
static struct {
    int init, count, cards, parts, processes, fails;
    card card[8]; part part[8];
    struct { int card; unsigned pid; long mib; } process[8];
    struct { char name[64]; int code; } fail[8];
} s;

static void play(void) {
    char line[256];
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    memset(&s, 0, sizeof s);
    if (!file) { s.init = 9; return; }
    while (fgets(line, sizeof line, file)) {
        card *c = &s.card[s.cards]; part *p = &s.part[s.parts];
        if (sscanf(line, "init %d", &s.init) == 1 || sscanf(line, "count %d", &s.count) == 1) continue;
        if (sscanf(line, "gpu %ld %ld %ld %ld %63s", &c->total, &c->used, &c->code, &c->mig, c->uuid) >= 4) s.cards++;
        if (sscanf(line, "part %d %ld %ld %u", &p->card, &p->total, &p->used, &p->instance) == 4) s.parts++;
        if (sscanf(line, "process %d %u %ld", &s.process[s.processes].card, &s.process[s.processes].pid,
                   &s.process[s.processes].mib) == 3) s.processes++;
        if (sscanf(line, "fails %63s %d", s.fail[s.fails].name, &s.fail[s.fails].code) == 2) s.fails++;
    }
    fclose(file);
}

/* A handle is 1 + the card's number, or 101 + the part's. */
static card *card_of(void *handle) { long h = (long)handle - 1; return &s.card[h < 100 ? h : s.part[h - 100].card]; }
static part *part_of(void *handle) { long h = (long)handle - 101; return h < 0 ? NULL : &s.part[h]; }
static int answer(void *handle, const char *name) {
    play();
    for (int i = 0; i < s.fails; i++) if (!strcmp(s.fail[i].name, name)) return s.fail[i].code;
    return handle ? (int)card_of(handle)->code : 0;
}
#define ASK(handle) do { int code = answer(handle, __func__); if (code) return code; } while (0)

static void log_call(const char *what) {
    const char *path = getenv("FAKE_NVML_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) { fprintf(file, "%s\n", what); fclose(file); }
}
int nvmlInitWithFlags(unsigned flags) { (void)flags; play(); log_call("init"); return s.init; }
int nvmlShutdown(void) { log_call("shutdown"); return 0; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "some error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { play(); *count = s.cards; return s.count; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    play();
    if ((int)index >= s.cards) return 2;
    *handle = (void *)(long)(index + 1);
    return answer(*handle, __func__);
}
int nvmlDeviceGetName(void *handle, char *name, unsigned length) {
    ASK(handle);
    snprintf(name, length, part_of(handle) ? "NVIDIA A100 MIG 1g.10gb" : "NVIDIA GeForce RTX 5080");
    return 0;
}
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned length) {
    ASK(handle);
    if (part_of(handle)) snprintf(uuid, length, "MIG-%ld", (long)handle - 101);
    else snprintf(uuid, length, "%s", card_of(handle)->uuid);
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory *out) {
    ASK(handle);
    long total = part_of(handle) ? part_of(handle)->total : card_of(handle)->total;
    long used = part_of(handle) ? part_of(handle)->used : card_of(handle)->used;
    /* as the driver does: `used` leaves out what it keeps for itself */
    *out = (memory){(u64)total << 20, (u64)(total - used) << 20, (u64)(used / 2) << 20};
    return 0;
}
static int listed(void *handle, unsigned *count, process *out) {
    unsigned found = 0;
    for (int i = 0; i < s.processes; i++)
        if (s.process[i].card == (long)handle - 1 && found++ < *count)
            out[found - 1] = (process){s.process[i].pid, s.process[i].mib < 0 ? ~0ull : (u64)s.process[i].mib << 20, 0, 0};
    int enough = found <= *count;
    *count = found;
    return enough ? 0 : 7;
}
int nvmlDeviceGetComputeRunningProcesses_v2(void *h, unsigned *count, process *out) { ASK(h); return listed(h, count, out); }
#ifndef OLD
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *count, process *out) { ASK(h); return listed(h, count, out); }
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *pending) {
    ASK(handle);
    *now = *pending = card_of(handle)->mig == 1;
    return card_of(handle)->mig < 0 ? 3 : 0;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { ASK(handle); *count = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **out) {
    ASK(handle);
    if ((int)index >= s.parts || s.part[index].card != (long)handle - 1) return 6;
    *out = (void *)(long)(101 + index);
    return 0;
}
int nvmlDeviceGetGpuInstanceId(void *handle, unsigned *id) { ASK(handle); *id = part_of(handle)->instance; return 0; }
#endif
