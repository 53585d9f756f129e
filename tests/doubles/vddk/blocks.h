/* Allocated blocks of a disk, from the file system's own map of the file that holds it. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include "vixdisklib.h"

/* Ranges that are called unallocated whatever is there: hide:OFFSET:LENGTH[;...], bytes, multiples of 64 KiB.
 * NULL: none. VIX_E_INVALID_ARG, said in the log, for anything else. */
VixError blocks_hide(const char *specification);

/* Whole chunks of `chunk` sectors that hold any data within [start, start + count), merged where they touch.
 * As in VDDK, all three must be multiples of the chunk, which also means that the tail of a disk that ends
 * inside a chunk cannot be asked for. */
VixError blocks_allocated(int fd, uint64_t capacity, uint64_t start, uint64_t count, uint64_t chunk,
                          struct block_list **list);

#endif
