/* What main.c needs of the machine that it runs on, and of the controller. */

#ifndef MAIN_H
#define MAIN_H

#include "emulated.h" /* the controller and the recorded episodes */

#ifdef __arm__
#define EXTERNAL __attribute__((section(".external")))
#else
#define EXTERNAL
#endif

uint32_t ticks(void);      /* a clock that counts up */
uint32_t stack_used(void); /* bytes, at most so far */
void open_report(void);
void write_report(const void *data, uint32_t bytes);
void close_report(void);

#endif
