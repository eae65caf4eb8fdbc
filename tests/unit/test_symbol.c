/* SPDX-License-Identifier: MIT */
/*
 * The symboliser against programs that say themselves where their code and data are (see
 * programs/symbol_c.c), built here by gcc and clang in several ways, stripped, split and packed; and
 * against eu-addr2line, an independent reader of the same files.
 */
#include "check.h"
#include "collector/symbol.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SOURCES TEST_SOURCE_DIR "/tests/programs"

static char directory[] = "/tmp/waitscope-symbol-XXXXXX";

/* --- commands ---------------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static bool run(const char *format, ...) {
    char command[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = snprintf(command, sizeof command, "cd %s && ", directory);
    vsnprintf(command + length, sizeof command - (size_t)length, format, arguments);
    va_end(arguments);
    int status = system(command);
    if (status != 0)
        fprintf(stderr, "failed (%d): %s\n", status, command);
    return CHECK(status == 0);
}

/* The output of a command; caller frees. */
__attribute__((format(printf, 1, 2))) static char *output_of(const char *format, ...) {
    char command[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = snprintf(command, sizeof command, "cd %s && ", directory);
    vsnprintf(command + length, sizeof command - (size_t)length, format, arguments);
    va_end(arguments);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    FILE *pipe = popen(command, "r");
    if (!stream || !pipe)
        exit(1);
    for (int c; (c = getc(pipe)) != EOF;)
        putc(c, stream);
    CHECK_EQ_INT(pclose(pipe), 0);
    fclose(stream);
    return text;
}

static char *in_directory(const char *name) {
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

/* --- what a program says of itself ------------------------------------------------------------- */

static bool same_name(const char *actual, const char *expected) {
    size_t length = strlen(expected);
    /* A function of an anonymous namespace has its parameters with clang only. */
    return actual && strncmp(actual, expected, length) == 0 &&
           (actual[length] == '\0' || (actual[length] == '(' && expected[0] == '('));
}

static void check_frames(struct symbol_module *module, uint64_t address, char *rest, const char *source) {
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    size_t count = symbol_resolve(module, address, frames), i = 0;
    char *place = NULL;
    for (char *want = strtok_r(rest, "\t\n", &place); want; want = strtok_r(NULL, "\t\n", &place), i++) {
        char *line = strrchr(want, ':');
        if (!CHECK(i < count))
            return;
        *line = '\0';
        if (!CHECK(same_name(frames[i].function, want)))
            fprintf(stderr, "  %s instead of %s\n", frames[i].function ? frames[i].function : "?", want);
        CHECK_EQ_INT(frames[i].line, atoi(line + 1));
        CHECK_STR(frames[i].file, source);
        CHECK_EQ_INT(frames[i].inlined, i + 1 < count);
    }
    CHECK_EQ_INT(count, i);
    struct symbol_frame again[SYMBOL_FRAMES_MAX];
    CHECK_EQ_INT(symbol_resolve(module, address, again), count);
    CHECK_MEM(again, frames, count * sizeof *frames);
}

/* Checks a file by what `program` says of itself. */
static void check_truth(const char *program, const char *file, const char *source) {
    struct symbolizer *symbolizer;
    struct symbol_module *module;
    unsigned frames = 0, data = 0;
    CHECK_EQ_INT(symbolizer_new(&symbolizer), 0);
    if (CHECK_EQ_INT(symbolizer_module(symbolizer, in_directory(file), NULL, &module), 0)) {
        char *text = output_of("./%s", program), *place = NULL;
        for (char *line = strtok_r(text, "\n", &place); line; line = strtok_r(NULL, "\n", &place)) {
            char *fields = strchr(line, '\t') + 1, *rest;
            uint64_t address = strtoull(fields, &rest, 16);
            rest++;
            if (line[0] == 'f') {
                check_frames(module, address, rest, source);
                frames++;
                continue;
            }
            struct symbol_data found = {0};
            char *name = strchr(rest, '\t') + 1;
            CHECK_EQ_INT(symbol_resolve_data(module, address, &found), 0);
            CHECK_STR(found.name, name);
            CHECK_STR(found.file, source);
            if (atoi(rest) > 0)
                CHECK_EQ_INT(found.line, atoi(rest));
            data++;
        }
        free(text);
    }
    CHECK(frames >= 2 && data >= 9);
    symbolizer_free(symbolizer);
}

static void test_compilers(void) {
    static const char *const compilers[][2] = {{"gcc", "symbol_c.c"},
                                               {"clang", "symbol_c.c"},
                                               {"g++ -std=c++17", "symbol_cxx.cpp"},
                                               {"clang++ -std=c++17", "symbol_cxx.cpp"}};
    static const char *const options[] = {
        "-O0 -gdwarf-4 -fPIE -pie",
        "-O2 -gdwarf-4 -no-pie -fdebug-types-section",
        "-O0 -gdwarf-5 -no-pie -gz=zlib",
        "-O2 -gdwarf-5 -fPIE -pie -ffunction-sections -Wl,--gc-sections",
    };
    for (size_t i = 0; i < sizeof compilers / sizeof compilers[0]; i++)
        for (size_t j = 0; j < sizeof options / sizeof options[0]; j++) {
            char source[PATH_MAX];
            snprintf(source, sizeof source, "%s/%s", SOURCES, compilers[i][1]);
            unsigned long before = atomic_load(&check_failed);
            if (run("%s %s %s -o program -pthread", compilers[i][0], options[j], source))
                check_truth("program", "program", source);
            if (atomic_load(&check_failed) != before)
                fprintf(stderr, "so with %s %s\n", compilers[i][0], options[j]);
        }
}

/* A program compiled by a relative name has absolute paths nonetheless. */
static void test_relative_source(void) {
    run("cp %s/symbol_c.c . && gcc -O2 -g symbol_c.c -o relative -pthread", SOURCES);
    char source[PATH_MAX];
    snprintf(source, sizeof source, "%s", in_directory("symbol_c.c"));
    check_truth("relative", "relative", source);
}

/* --- separate debug files ---------------------------------------------------------------------- */

static void test_separate(void) {
    const char *source = SOURCES "/symbol_cxx.cpp";
    run("mkdir -p link linkdir/.debug split roots root/%s/linkroot linkroot", directory + 1);
    run("g++ -std=c++17 -O2 -g -Wl,--build-id=sha1 %s -o whole -pthread", source);

    run("objcopy --only-keep-debug whole link/whole.debug");
    run("cp link/whole.debug linkdir/.debug/; cp link/whole.debug root/%s/linkroot/", directory + 1);
    run("cd link && objcopy --strip-all --remove-section=.note.gnu.build-id"
        " --add-gnu-debuglink=whole.debug ../whole whole");
    run("cp link/whole linkdir/; cp link/whole linkroot/");
    check_truth("whole", "link/whole", source);
    check_truth("whole", "linkdir/whole", source);

    char roots[2 * PATH_MAX];
    snprintf(roots, sizeof roots, ":/nonexistent:%s/roots:%s/root", directory, directory);
    setenv("WAITSCOPE_DEBUG_PATH", roots, 1);
    check_truth("whole", "linkroot/whole", source);

    run("id=$(readelf -n whole | sed -n 's/.*Build ID: //p') && first=$(echo $id | cut -c1-2) &&"
        " mkdir -p roots/.build-id/$first && objcopy --only-keep-debug whole"
        " roots/.build-id/$first/$(echo $id | cut -c3-).debug");
    run("strip -o split/whole whole");
    check_truth("whole", "split/whole", source);
    unsetenv("WAITSCOPE_DEBUG_PATH");

    /* A debug file that does not fit is not used. */
    run("printf x >> link/whole.debug");
    struct symbolizer *symbolizer;
    struct symbol_module *module;
    struct symbol_data data;
    CHECK_EQ_INT(symbolizer_new(&symbolizer), 0);
    CHECK_EQ_INT(symbolizer_module(symbolizer, in_directory("link/whole"), NULL, &module), 0);
    char *vault = output_of("nm whole | sed -n 's/ B _ZN4bank5vaultE$//p'");
    CHECK_EQ_INT(symbol_resolve_data(module, strtoull(vault, NULL, 16), &data), -ENOENT);
    free(vault);
    symbolizer_free(symbolizer);
}

static void test_dwz(void) {
    run("gcc -O2 -g %s/symbol_c.c -o dwz1 -pthread && gcc -O1 -g %s/symbol_c.c -o dwz2 -pthread", SOURCES,
        SOURCES);
    run("dwz -m common.dwz -r dwz1 dwz2 && readelf -SW dwz1 | grep -q gnu_debugaltlink");
    check_truth("dwz1", "dwz1", SOURCES "/symbol_c.c");
    check_truth("dwz2", "dwz2", SOURCES "/symbol_c.c");
}

/* --- symbol tables only ------------------------------------------------------------------------ */

static uint64_t symbol_address(const char *file, const char *options, const char *symbol) {
    char *text = output_of("nm %s %s | awk '$3 == \"%s\" { print $1 }'", options, file, symbol);
    uint64_t address = strtoull(text, NULL, 16);
    free(text);
    CHECK(address != 0);
    return address;
}

static void test_stripped(void) {
    run("gcc -O2 -g -rdynamic %s/symbol_c.c -o full -pthread", SOURCES);
    run("strip --strip-debug -o nodebug full && strip -o bare full");
    uint64_t outer = symbol_address("full", "", "outer"), pools = symbol_address("full", "", "pools");
    uint64_t stats = symbol_address("full", "", "stats");
    char *plt = output_of("objdump -d --no-show-raw-insn -j .plt -j .plt.sec full 2>/dev/null |"
                          " sed -n 's/^\\([0-9a-f]*\\) <printf@plt>:/\\1/p'");

    struct symbolizer *symbolizer;
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    struct symbol_data data;
    CHECK_EQ_INT(symbolizer_new(&symbolizer), 0);
    static const char *const files[] = {"nodebug", "bare"};
    for (int i = 0; i < 2; i++) {
        struct symbol_module *module;
        if (!CHECK_EQ_INT(symbolizer_module(symbolizer, in_directory(files[i]), NULL, &module), 0))
            continue;
        CHECK_EQ_INT(symbol_resolve(module, outer + 1, frames), 1);
        CHECK_STR(frames[0].function, "outer");
        CHECK_STR(frames[0].file, NULL);
        CHECK_EQ_INT(frames[0].line, 0);
        CHECK_EQ_INT(symbol_resolve(module, strtoull(plt, NULL, 16) + 4, frames), 1);
        CHECK_STR(frames[0].function, "printf@plt");
        CHECK_EQ_INT(symbol_resolve_data(module, stats, &data), 0);
        CHECK_STR(data.name, "stats");
        CHECK_EQ_INT(symbol_resolve_data(module, stats + 0x18, &data), 0);
        CHECK_STR(data.name, "stats+0x18");
        CHECK_STR(data.file, NULL);
        bool local = i == 0;
        CHECK_EQ_INT(symbol_resolve_data(module, pools + 8, &data), local ? 0 : -ENOENT);
        if (local)
            CHECK_STR(data.name, "pools+0x8");
        CHECK_EQ_INT(symbol_resolve(module, 0, frames), 0);
        CHECK_EQ_INT(symbol_resolve(module, UINT64_MAX, frames), 0);
        CHECK_EQ_INT(symbol_resolve_data(module, UINT64_MAX, &data), -ENOENT);
        CHECK_EQ_INT(symbol_resolve_data(module, 0, &data), -ENOENT);
    }
    symbolizer_free(symbolizer);
    free(plt);
}

/* Each argument is a pair of the one before: demangled it would be some gigabytes. */
#define DOUBLING                                                                                             \
    "_Z1f1AIiiES_IS0_S0_ES_IS1_S1_ES_IS2_S2_ES_IS3_S3_ES_IS4_S4_ES_IS5_S5_ES_IS6_S6_ES_IS7_S7_ES_IS8_S8_E"   \
    "S_IS9_S9_ES_ISA_SA_ES_ISB_SB_ES_ISC_SC_ES_ISD_SD_ES_ISE_SE_ES_ISF_SF_ES_ISG_SG_ES_ISH_SH_ES_ISI_SI_E"   \
    "S_ISJ_SJ_ES_ISK_SK_ES_ISL_SL_ES_ISM_SM_ES_ISN_SN_ES_ISO_SO_E"

/* Aliases, assembler without sizes, C++ without debug information, Rust names. */
static void test_names(void) {
    static const char assembler[] =
        ".text\n.p2align 4\n"
        "__alias:\n.globl alias\nalias:\n.globl aliased\naliased:\n.weak a\na:\n"
        ".type __alias,@function\n.type alias,@function\n.type aliased,@function\n.type a,@function\n"
        "nop\nnop\n"
        ".size __alias,.-__alias\n.size alias,.-alias\n.size aliased,.-aliased\n.size a,.-a\n"
        ".globl gap\ngap:\n.space 8,0x90\n"
        ".globl sizeless\nsizeless:\n.space 32,0x90\n"
        ".macro function name\n.globl \\name\n.type \\name,@function\n\\name:\nnop\n.size "
        "\\name,.-\\name\n.endm\n"
        "function _Z5twiceIiET_S0_\nfunction _ZN4core3fmt5write17h0123456789abcdefE\n"
        "function _RNvC6_123foo3bar\nfunction _ZNK3FoocvbEv\nfunction _ZlsIiERSoS0_T_\n"
        "function _ZZN3Foo3barEvENKUlvE_clEv\nfunction _Z3fooIiEPFvT_ES0_\n"
        "function _ZN12_GLOBAL__N_13runIiEEvT_\nfunction _Znotmangled\n"
        "function " DOUBLING "\n"
        "function _ZN1AclIiEEvT_\nfunction _ZN1AssIiEEiT_\n"
        ".section .note.GNU-stack,\"\",@progbits\n";
    static const struct {
        const char *symbol;
        unsigned offset;
        const char *name;
    } wanted[] = {
        {"alias", 0, "alias"},
        {"alias", 1, "alias"},
        {"gap", 7, "gap"},
        {"sizeless", 31, "sizeless"},
        {"_Z5twiceIiET_S0_", 0, "twice<int>(int)"},
        {"_ZN4core3fmt5write17h0123456789abcdefE", 0, "_ZN4core3fmt5write17h0123456789abcdefE"},
        {"_RNvC6_123foo3bar", 0, "_RNvC6_123foo3bar"},
        {"_ZNK3FoocvbEv", 0, "Foo::operator bool() const"},
        {"_ZlsIiERSoS0_T_", 0, "operator<< <int>(std::ostream&, int)"},
        {"_ZZN3Foo3barEvENKUlvE_clEv", 0, "Foo::bar()::{lambda()#1}::operator()() const"},
        {"_Z3fooIiEPFvT_ES0_", 0, "void (*foo<int>(int))(int)"},
        {"_ZN12_GLOBAL__N_13runIiEEvT_", 0, "(anonymous namespace)::run<int>(int)"},
        {"_Znotmangled", 0, "_Znotmangled"},
        {DOUBLING, 0, DOUBLING},
        {"_ZN1AclIiEEvT_", 0, "A::operator()<int>(int)"},
        {"_ZN1AssIiEEiT_", 0, "A::operator<=><int>(int)"},
    };
    FILE *file = fopen(in_directory("names.s"), "w");
    if (!CHECK(file != NULL))
        return;
    fputs(assembler, file);
    fclose(file);
    if (!run("gcc -shared -nostdlib names.s -o names.so"))
        return;
    struct symbolizer *symbolizer;
    struct symbol_module *module;
    CHECK_EQ_INT(symbolizer_new(&symbolizer), 0);
    if (CHECK_EQ_INT(symbolizer_module(symbolizer, in_directory("names.so"), NULL, &module), 0))
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
            struct symbol_frame frames[SYMBOL_FRAMES_MAX];
            uint64_t address = symbol_address("names.so", "", wanted[i].symbol) + wanted[i].offset;
            if (CHECK_EQ_INT(symbol_resolve(module, address, frames), 1))
                CHECK_STR(frames[0].function, wanted[i].name);
        }
    symbolizer_free(symbolizer);
}

/* --- files that are not what they should be ---------------------------------------------------- */

static void test_bad_files(void) {
    run("mkfifo fifo; mkdir folder; echo text > text; : > empty; gcc -c -x c /dev/null -o object.o");
    run("gcc -O2 -g -Wl,--build-id=0x0123456789abcdef %s/symbol_c.c -o good -pthread", SOURCES);
    run("cp good class32 && printf '\\001' | dd of=class32 bs=1 seek=%zu conv=notrunc status=none",
        (size_t)EI_CLASS);
    run("cp good foreign && printf '\\267' | dd of=foreign bs=1 seek=%zu conv=notrunc status=none",
        offsetof(Elf64_Ehdr, e_machine));
    run("ln -s loop loop");
    static const struct {
        const char *file, *build_id;
        int result;
    } wanted[] = {
        {"absent", NULL, -ENOENT},
        {"loop", NULL, -ENOENT},
        {"fifo", NULL, -ENOEXEC},
        {"folder", NULL, -ENOEXEC},
        {"text", NULL, -ENOEXEC},
        {"empty", NULL, -ENOEXEC},
        {"object.o", NULL, -ENOEXEC},
        {"class32", NULL, -ENOEXEC},
        {"foreign", NULL, -ENOEXEC},
        {"good", NULL, 0},
        {"good", "0123456789abcdef", 0},
        {"good", "0123456789ABCDEF", 0},
        {"good", "0123456789abcdee", -ESTALE},
        {"good", "0123456789abcd", -ESTALE},
        {"good", "", -ESTALE},
    };
    struct symbolizer *symbolizer;
    struct symbol_module *module, *again;
    CHECK_EQ_INT(symbolizer_new(&symbolizer), 0);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        module = NULL;
        if (!CHECK_EQ_INT(
                symbolizer_module(symbolizer, in_directory(wanted[i].file), wanted[i].build_id, &module),
                wanted[i].result))
            fprintf(stderr, "  for %s\n", wanted[i].file);
        CHECK((module != NULL) == (wanted[i].result == 0));
    }
    CHECK_EQ_INT(symbolizer_module(symbolizer, in_directory("good"), NULL, &module), 0);
    CHECK_EQ_INT(symbolizer_module(symbolizer, in_directory("good"), NULL, &again), 0);
    CHECK(module == again);
    symbolizer_free(symbolizer);
    symbolizer_free(NULL);

    /* Cut anywhere, a file is refused or read as far as it goes. */
    struct stat status;
    CHECK_EQ_INT(stat(in_directory("good"), &status), 0);
    uint64_t outer = symbol_address("good", "", "outer"), stats = symbol_address("good", "", "stats");
    unsigned refused = 0;
    for (off_t size = status.st_size - 1; size > 0; size -= 499) {
        struct symbol_frame frames[SYMBOL_FRAMES_MAX];
        struct symbol_data data;
        CHECK_EQ_INT(truncate(in_directory("good"), size), 0);
        CHECK_EQ_INT(symbolizer_new(&symbolizer), 0);
        if (symbolizer_module(symbolizer, in_directory("good"), NULL, &module) == 0) {
            symbol_resolve(module, outer, frames);
            symbol_resolve_data(module, stats, &data);
        } else {
            refused++;
        }
        symbolizer_free(symbolizer);
    }
    CHECK(refused > 0);
}

/* --- real files -------------------------------------------------------------------------------- */

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void check_symbol(const char *path, uint64_t address, const char *name) {
    struct symbolizer *symbolizer;
    struct symbol_module *module;
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    double start = seconds();
    CHECK_EQ_INT(symbolizer_new(&symbolizer), 0);
    if (CHECK_EQ_INT(symbolizer_module(symbolizer, path, NULL, &module), 0)) {
        size_t count = symbol_resolve(module, address, frames);
        double first = seconds();
        if (CHECK(count >= 1))
            CHECK_STR(frames[count - 1].function, name);
        for (int i = 1; i <= 1000; i++)
            symbol_resolve(module, address + (uint64_t)i * 64, frames);
        double next = seconds();
        for (int i = 1; i <= 1000; i++)
            symbol_resolve(module, address + (uint64_t)i * 64, frames);
        printf("%s: opened and first resolved in %.1f ms, 1000 others at %.2f us each, again at %.3f us\n",
               path, 1e3 * (first - start), 1e3 * (next - first), 1e3 * (seconds() - next));
    }
    symbolizer_free(symbolizer);
}

static void test_libc(void) {
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    void *function = libc ? dlsym(libc, "pthread_mutex_lock") : NULL;
    Dl_info info;
    struct link_map *map = NULL;
    if (CHECK(function != NULL) && CHECK(dladdr1(function, &info, (void **)&map, RTLD_DL_LINKMAP) != 0))
        check_symbol(info.dli_fname, (uint64_t)((uintptr_t)function - map->l_addr), "pthread_mutex_lock");
    if (libc)
        dlclose(libc);
}

/* npm's node has libuv inside, Debian's takes it from a library. */
static void test_node(void) {
    char *found = output_of("for file in $(readlink -f \"$(command -v node)\") $(ldd \"$(command -v node)\" |"
                            " awk '/libuv/ { print $3 }'); do"
                            " nm -D --defined-only $file | awk -v file=$file"
                            " '$3 == \"uv_run\" { print $1, file; exit }'; done; true");
    char path[PATH_MAX];
    unsigned long long address;
    if (sscanf(found, "%llx %4095s", &address, path) == 2)
        check_symbol(path, address, "uv_run");
    else
        printf("no node on this machine: not timed\n");
    free(found);
}

/* --- against eu-addr2line ---------------------------------------------------------------------- */

/* Name up to its parameters; theirs says where it is inlined after the name. */
static size_t plain_length(const char *name) {
    const char *from = strncmp(name, "(anonymous namespace)", 21) == 0 ? name + 21 : name;
    return (size_t)(from - name) + strcspn(from, "(@ \n");
}

static bool names_agree(const char *mine, const char *theirs) {
    if (!mine)
        return strncmp(theirs, "??", 2) == 0;
    size_t length = plain_length(mine), their_length = plain_length(theirs);
    return their_length <= length && strncmp(mine + length - their_length, theirs, their_length) == 0;
}

static bool places_agree(const struct symbol_frame *frame, const char *place) {
    char theirs[PATH_MAX];
    snprintf(theirs, sizeof theirs, "%s", place);
    char *number = strchr(theirs, ':');
    if (!number || strncmp(theirs, "??", 2) == 0)
        return !frame->file;
    *number = '\0';
    /* Without a line table theirs is the name of the object's source. */
    if (atoi(number + 1) == 0 && !frame->file)
        return true;
    const char *slash = frame->file ? strrchr(frame->file, '/') : NULL;
    return slash && strcmp(slash + 1, basename(theirs)) == 0 && (int)frame->line == atoi(number + 1);
}

static void test_against_addr2line(const char *compiler) {
    if (!run("%s -std=c++17 -O2 -g %s/symbol_cxx.cpp -o compared -pthread", compiler, SOURCES))
        return;
    char *text = output_of("readelf -SW compared | sed -n 's/.* \\.text *PROGBITS *//p'");
    uint64_t address, offset, size;
    CHECK(sscanf(text, "%" SCNx64 " %" SCNx64 " %" SCNx64, &address, &offset, &size) == 3);
    free(text);
    text = output_of("for i in $(seq %" PRIu64 " 3 %" PRIu64 "); do printf '0x%%x\\n' $i; done |"
                     " eu-addr2line -a -i -f -C -e compared",
                     address, address + size - 1);
    struct symbolizer *symbolizer;
    struct symbol_module *module;
    struct symbol_frame frames[SYMBOL_FRAMES_MAX];
    CHECK_EQ_INT(symbolizer_new(&symbolizer), 0);
    CHECK_EQ_INT(symbolizer_module(symbolizer, in_directory("compared"), NULL, &module), 0);
    size_t count = 0, index = 0;
    unsigned addresses = 0, names = 0, names_same = 0, places_same = 0, counts_same = 0;
    char *rest = NULL, *function = NULL;
    for (char *line = strtok_r(text, "\n", &rest);; line = strtok_r(NULL, "\n", &rest)) {
        if (!line || strncmp(line, "0x", 2) == 0) {
            bool same = index == count || (count == 0 && index == 1);
            counts_same += addresses > 0 && same;
            if (!line)
                break;
            address = strtoull(line, NULL, 16);
            count = symbol_resolve(module, address, frames);
            index = 0;
            addresses++;
        } else if (!function) {
            function = line;
        } else {
            if (index < count) {
                names++;
                names_same += names_agree(frames[index].function, function);
                places_same += places_agree(&frames[index], line);
            }
            index++;
            function = NULL;
        }
    }
    printf("%s: %u addresses, same number of frames %u; of %u frames same name %u, same place %u\n", compiler,
           addresses, counts_same, names, names_same, places_same);
    CHECK(addresses >= 300);
    /* Of a member function or one in a namespace, theirs often leaves out the inlined calls
     * (llvm-symbolizer has them as we do); the innermost place it has right. */
    CHECK(100 * counts_same >= 90 * addresses);
    CHECK(100 * names_same >= 90 * names);
    CHECK(100 * places_same >= 98 * names);
    symbolizer_free(symbolizer);
    free(text);
}

int main(void) {
    unsetenv("WAITSCOPE_DEBUG_PATH");
    if (!CHECK(mkdtemp(directory) != NULL))
        return check_summary();
    test_compilers();
    test_relative_source();
    test_separate();
    test_dwz();
    test_stripped();
    test_names();
    test_bad_files();
    test_libc();
    test_node();
    test_against_addr2line("g++");
    test_against_addr2line("clang++ -gdwarf-aranges"); /* eu-addr2line finds no unit without */
    if (!getenv("TEST_KEEP"))
        run("rm -rf %s", directory);
    else
        printf("kept %s\n", directory);
    return check_summary();
}
