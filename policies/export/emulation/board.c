/* An emulated MPS2 board: start, instructions by a timer, the stack's high-water mark, a file by semihosting. */

#include "main.h"

#define PAINT            0xa5a5a5a5u
#define SYS_OPEN         0x01u
#define SYS_CLOSE        0x02u
#define SYS_WRITE        0x05u
#define SYS_EXIT         0x18u
#define APPLICATION_EXIT 0x20026u
#define WRITE_BINARY     5u

#define CPACR         (*(volatile uint32_t *)0xe000ed88u)
#define TIMER_CONTROL (*(volatile uint32_t *)(TIMER + 0x0u))
#define TIMER_VALUE   (*(volatile uint32_t *)(TIMER + 0x4u))
#define TIMER_RELOAD  (*(volatile uint32_t *)(TIMER + 0x8u))

extern uint32_t data_start[], data_end[], data_source[], bss_start[], bss_end[], stack_top[];

int main(void);
void reset(void);

static uint32_t handle;

static uint32_t semihost(uint32_t operation, const void *block)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

uint32_t ticks(void) { return 0xffffffffu - TIMER_VALUE; }

uint32_t stack_used(void)
{
    const uint32_t *lowest = bss_end;
    while (lowest < stack_top && *lowest == PAINT) {
        lowest++;
    }
    return (uint32_t)((stack_top - lowest) * (int32_t)sizeof *lowest);
}

void open_report(void)
{
    static const char name[] = "report.bin";
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, WRITE_BINARY, sizeof name - 1};
    handle = semihost(SYS_OPEN, block);
}

void write_report(const void *data, uint32_t bytes)
{
    const uint32_t block[3] = {handle, (uint32_t)(uintptr_t)data, bytes};
    semihost(SYS_WRITE, block);
}

void close_report(void) { semihost(SYS_CLOSE, &handle); }

void reset(void)
{
    uint32_t *target, *source = data_source;
    uint32_t *const here = (uint32_t *)__builtin_frame_address(0);
    for (target = data_start; target < data_end;) {
        *target++ = *source++;
    }
    for (target = bss_start; target < bss_end;) {
        *target++ = 0;
    }
    while (target < here - 16) {
        *target++ = PAINT;
    }
    CPACR |= 0xfu << 20; /* the floating-point unit */
    __asm__ volatile("dsb\nisb");
    TIMER_RELOAD = 0xffffffffu;
    TIMER_VALUE = 0xffffffffu;
    TIMER_CONTROL = 1u;
    main();
    semihost(SYS_EXIT, (const void *)APPLICATION_EXIT);
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[2] = {stack_top, (const void *)reset};
