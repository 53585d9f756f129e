/* Injected faults: which reads they strike, and what they do to them.
 *
 *   SPEC[;SPEC...]         a SPEC is words joined by commas: at most one range, one rhythm, one effect
 *     at=OFFSET,length=L     only reads that touch these bytes; length is 1 unless given
 *     number=N | every=N     the Nth of those reads (from 1), or each Nth; each one unless given
 *     times=N                not more than N times
 *     error=NAME             EIO, ENOMEM, EACCES, ENOENT, EBUSY, or the number of a VIX error
 *     hang                   the read never completes
 *     exit                   the process ends at once, with status 1
 *     flip=OFFSET            the lowest bit of the byte at OFFSET is wrong; the range is that byte
 *
 * What has been counted lives in the file that the settings name, where it survives the process, else here.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include "settings.h"
#include "vixdisklib.h"

#include <stdbool.h>

typedef uint32_t Struck; /* bit i: fault i strikes this read; 0: all is well */

VixError faults_start(const struct settings *settings);
void faults_stop(void);

/* Counts a read of these bytes. Does not return where a fault says `exit`. */
Struck faults_strike(uint64_t offset, uint64_t length);

bool faults_hang(Struck struck);
VixError faults_error(Struck struck);
void faults_spoil(Struck struck, uint64_t offset, uint64_t length, unsigned char *buffer);

#endif
