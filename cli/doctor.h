/* SPDX-License-Identifier: MIT */
/* What `waitscope doctor` looks at. A new check is a function and a row of DOCTOR_CHECKS. */
#ifndef WAITSCOPE_CLI_DOCTOR_H
#define WAITSCOPE_CLI_DOCTOR_H

enum doctor_grade {
    DOCTOR_OK,
    DOCTOR_LESS, /* recording works, something is poorer for it */
    DOCTOR_NO,   /* recording does not work */
    DOCTOR_INFO, /* nothing depends on it today */
};

struct doctor_finding {
    enum doctor_grade grade;
    char text[256]; /* what there is, or why not */
    char cure[160]; /* what would help; empty: nothing needed or nothing known */
};

struct doctor_check {
    const char *name;
    void (*look)(struct doctor_finding *ret_finding); /* zeroed before, so DOCTOR_OK and empty */
};

/* Ended by a row whose name is NULL. */
extern const struct doctor_check DOCTOR_CHECKS[];

#endif
