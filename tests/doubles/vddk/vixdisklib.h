/* The part of VDDK 8's binary interface that nbdkit's vddk plugin calls.
 *
 * VMware's headers are not free; these are our own declarations of the same layouts, checked against what
 * the plugin (nbdkit 1.42.3, plugins/vddk/vddk-structs.h and vddk-stubs.h) passes and expects. Offsets and
 * lengths are in sectors of 512 bytes everywhere in this interface.
 */
#ifndef VIXDISKLIB_H
#define VIXDISKLIB_H

#include <stdarg.h>
#include <stdint.h>

#define SECTOR 512
#define API __attribute__((visibility("default")))

typedef uint64_t VixError;

typedef void LogFunction(const char *format, va_list arguments);
typedef void CompletionFunction(void *data, VixError result);

enum credential_type { CREDENTIAL_PASSWORD = 1, CREDENTIAL_SESSION = 2 };

struct connect_params {
    char *vmx_spec; /* "moref=vm-N" */
    char *server;
    char *thumbprint; /* SHA-1 of the server's certificate */
    long reserved1;
    int credential_type;
    union {
        struct {
            char *user;
            char *password;
        } login;
        struct {
            char *cookie;
            char *user;
            char *key;
        } session;
        void *reserved2;
    } credentials;
    uint32_t port; /* 0: 443 */
    uint32_t nfc_host_port;
    char *reserved3;
    char reserved4[8];
    void *reserved5;
    struct {
        char *id;
        char *datastore;
        char *snapshot;
    } storage_object;
    int spec_type; /* 0: vmx_spec counts */
};

struct geometry {
    uint32_t cylinders;
    uint32_t heads;
    uint32_t sectors;
};

struct disk_info {
    struct geometry bios;
    struct geometry physical;
    uint64_t capacity;
    int adapter;
    int links;
    char *parent_hint;
    char *uuid;
    uint32_t logical_sector; /* bytes */
    uint32_t physical_sector;
};

#define ADAPTER_LSILOGIC 3

struct block {
    uint64_t offset;
    uint64_t length;
};

struct block_list {
    uint32_t count;
    struct block blocks[];
};

#define OPEN_READ_ONLY 4
#define MIN_CHUNK 128              /* sectors: 64 KiB */
#define MAX_CHUNKS (512 * 1024)    /* in one QueryAllocatedBlocks */

#endif
