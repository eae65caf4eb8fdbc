/* SPDX-License-Identifier: MIT */
/* A library's function in two versions (uprobe_library.map), as glibc has them. */
unsigned long probed_versioned_old(unsigned long value);
unsigned long probed_versioned_new(unsigned long value);

__asm__(".symver probed_versioned_old, probed_versioned@LIBRARY_1\n"
        ".symver probed_versioned_new, probed_versioned@@LIBRARY_2\n");
__asm__(".pushsection .text\n"
        ".globl probed_versioned_old\n.type probed_versioned_old, @function\nprobed_versioned_old:\n"
        ".cfi_startproc\npush %rbx\npop %rbx\nlea 1(%rdi), %rax\nret\n.cfi_endproc\n"
        ".size probed_versioned_old, .-probed_versioned_old\n"
        ".globl probed_versioned_new\n.type probed_versioned_new, @function\nprobed_versioned_new:\n"
        ".cfi_startproc\npush %rbp\npop %rbp\nlea 2(%rdi), %rax\nret\n.cfi_endproc\n"
        ".size probed_versioned_new, .-probed_versioned_new\n"
        ".popsection");
