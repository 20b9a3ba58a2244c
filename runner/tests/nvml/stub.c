/* A stand-in for libnvidia-ml.so: two GPUs, and faults that a test scripts. It proves how the runner reads the driver, not a GPU.
 *
 * cc -shared -fPIC -DSCRIPT='"/path"' stub.c -o libnvidia-ml.so.1
 * SCRIPT is a file that is read anew at each call, with words in it:
 *   lost0, lost1   the GPU fell off the bus: everything but its name and UUID answers NVML_ERROR_GPU_IS_LOST
 *   gone1          the driver cannot even name GPU 1
 *   reset1         GPU 1 works again only after a reset
 *   ecc1           GPU 1 counted two uncorrected errors of its memory
 *   xid0=13 xid1=79 …  the driver reports this error of that GPU, once
 *   mute           no GPU reports errors by itself
 *   mig0           GPU 0 is split into two instances
 *   none           the driver works and shows no GPU
 *   mismatch       the library does not fit the loaded driver
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INVALID = 2, NOT_FOUND = 6, LOST = 15, RESET = 16, MISMATCH = 18, TIMEOUT = 10 };
enum { UNCORRECTED = 1, VOLATILE = 0, XID = 8 };
struct device { int index; int instance; };
struct memory { unsigned version; unsigned long long total, reserved, free, used; };
struct utilization { unsigned gpu, memory; };
struct set { struct device *device; char told[16]; };
struct event { struct device *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; };

static struct device devices[2] = {{0, -1}, {1, -1}};
static struct device instances[2] = {{0, 0}, {0, 1}};

static char *script(void) {
    static char text[256];
    FILE *file = fopen(SCRIPT, "r");
    text[0] = 0;
    if (file) {
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
    }
    return text;
}
static int scripted(const char *word) { return strstr(script(), word) != NULL; }
static int lost(const struct device *device) { return scripted(device->index ? "lost1" : "lost0"); }

int nvmlInit_v2(void) { return scripted("mismatch") ? MISMATCH : SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { return snprintf(to, size, "570.86.10"), SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = scripted("none") ? 0 : 2, SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device) {
    if (index > 1) return INVALID;
    if (index == 1 && scripted("gone1")) return LOST;
    return *device = &devices[index], SUCCESS;
}
int nvmlDeviceGetUUID(struct device *device, char *to, unsigned size) {
    if (device->instance >= 0) snprintf(to, size, "MIG-stub-%d", device->instance);
    else snprintf(to, size, "GPU-stub-%d", device->index);
    return SUCCESS;
}
int nvmlDeviceGetName(struct device *device, char *to, unsigned size) {
    return snprintf(to, size, device->index ? "NVIDIA T4" : "NVIDIA A100-SXM4-40GB"), SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(struct device *device, struct memory *memory) {
    if (lost(device)) return LOST;
    if (device->index && scripted("reset1")) return RESET;
    unsigned long long total = device->index ? 16ull << 30 : device->instance >= 0 ? 20ull << 30 : 40ull << 30;
    memory->total = total, memory->reserved = 0, memory->used = 1ull << 30, memory->free = total - (1ull << 30);
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(struct device *device, int *major, int *minor) {
    if (lost(device)) return LOST;
    return *major = device->index ? 7 : 8, *minor = device->index ? 5 : 0, SUCCESS;
}
int nvmlDeviceGetMigMode(struct device *device, unsigned *current, unsigned *pending) {
    if (device->index) return NOT_SUPPORTED;
    return *current = *pending = scripted("mig0"), SUCCESS;
}
/* More places than instances, as the real one answers. */
int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count) { return *count = device->index ? 0 : 7, SUCCESS; }
int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index, struct device **instance) {
    if (device->index || index > 1) return NOT_FOUND;
    return *instance = &instances[index], SUCCESS;
}
int nvmlDeviceGetTemperature(struct device *device, int sensor, unsigned *celsius) {
    (void)sensor;
    if (lost(device)) return LOST;
    return *celsius = 41 + device->index, SUCCESS;
}
int nvmlDeviceGetUtilizationRates(struct device *device, struct utilization *rates) {
    if (lost(device)) return LOST;
    if (device->instance >= 0) return NOT_SUPPORTED;
    return rates->gpu = 30 + device->index, rates->memory = 5, SUCCESS;
}
int nvmlDeviceGetTotalEccErrors(struct device *device, int kind, int since, unsigned long long *count) {
    if (lost(device)) return LOST;
    if (device->instance >= 0 || kind != UNCORRECTED || since != VOLATILE) return NOT_SUPPORTED;
    return *count = device->index && scripted("ecc1") ? 2 : 0, SUCCESS;
}
int nvmlEventSetCreate(struct set **set) { return *set = calloc(1, sizeof **set), SUCCESS; }
int nvmlEventSetFree(struct set *set) { return free(set), SUCCESS; }
int nvmlDeviceRegisterEvents(struct device *device, unsigned long long types, struct set *set) {
    if (types != XID || scripted("mute")) return NOT_SUPPORTED;
    return set->device = device, SUCCESS;
}
/* Each word of the script is told once. */
int nvmlEventSetWait_v2(struct set *set, struct event *event, unsigned milliseconds) {
    char name[8], word[16] = "";
    (void)milliseconds;
    snprintf(name, sizeof name, "xid%d=", set->device->index);
    char *found = strstr(script(), name);
    if (found) sscanf(found, "%15s", word);
    if (!strcmp(word, set->told)) return TIMEOUT;
    strcpy(set->told, word);
    if (!found) return TIMEOUT;
    memset(event, 0, sizeof *event);
    event->device = set->device, event->type = XID;
    return sscanf(word + strlen(name), "%llu", &event->data), SUCCESS;
}
