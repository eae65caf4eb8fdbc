/* SPDX-License-Identifier: MIT */
/* A shared library that marks a region of its own. */
#ifndef WAITSCOPE_TESTS_ANNOTATED_LIBRARY_H
#define WAITSCOPE_TESTS_ANNOTATED_LIBRARY_H

#ifdef __cplusplus
extern "C"
#endif
    void
    annotated_library_work(void);

#endif
