/* SPDX-License-Identifier: MIT */
#include "model/timeline.h"

struct timeline timeline_of(const struct model *model, uint32_t thread, const struct thread_span *spans,
                            uint32_t span_count) {
    const struct off_cpu *off_cpu = &model->off_cpu;
    const struct off_known *known = &model->thread_extras[thread].known;
    struct timeline line = {
        .spans = spans,
        .span_count = span_count,
        .stretches = off_cpu->stretches + off_cpu->thread_first[thread],
        .stretch_count = off_cpu->thread_first[thread + 1] - off_cpu->thread_first[thread],
        .origins = off_cpu->origins,
        .begin = model->threads[thread].start,
        .end = model->threads[thread].end,
    };
    line.known_begin = known->begin > line.begin ? known->begin : line.begin;
    line.known_end = known->end < line.end ? known->end : line.end;
    if (line.known_end < line.known_begin)
        line.known_end = line.known_begin;
    return line;
}

static uint32_t first_span(const struct timeline *line, uint64_t time) {
    uint32_t low = 0, high = line->span_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (line->spans[middle].end <= time)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint32_t first_stretch(const struct timeline *line, uint64_t time) {
    uint32_t low = 0, high = line->stretch_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (line->stretches[middle].begin + line->stretches[middle].duration <= time)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct timeline_cursor timeline_seek(const struct timeline *line, uint64_t time) {
    uint64_t at = time > line->begin ? time : line->begin;
    return (struct timeline_cursor){
        .line = line, .at = at, .span = first_span(line, at), .stretch = first_stretch(line, at)};
}

/* Ends the piece at a border that lies behind its begin. */
static void piece_end_at(struct timeline_piece *piece, uint64_t border) {
    if (border > piece->begin && border < piece->end)
        piece->end = border;
}

bool timeline_next(struct timeline_cursor *cursor, struct timeline_piece *ret_piece) {
    const struct timeline *line = cursor->line;
    uint64_t at = cursor->at;
    if (at >= line->end)
        return false;
    struct timeline_piece piece = {.begin = at, .end = line->end, .state = MODEL_UNKNOWN};
    piece_end_at(&piece, line->known_begin);
    piece_end_at(&piece, line->known_end);
    if (at >= line->known_begin && at < line->known_end)
        piece.state = MODEL_RUNNING;

    while (cursor->stretch < line->stretch_count) {
        const struct off_stretch *stretch = &line->stretches[cursor->stretch];
        uint64_t end = stretch->begin + stretch->duration, ready = end - stretch->delay;
        if (end <= at) {
            cursor->stretch++;
            continue;
        }
        piece_end_at(&piece, stretch->begin);
        piece_end_at(&piece, ready);
        piece_end_at(&piece, end);
        if (stretch->begin <= at) {
            piece.stretch = stretch;
            piece.state = at >= ready ? MODEL_RUNNABLE : off_kind_state(line->origins[stretch->origin].kind);
        }
        break;
    }
    while (cursor->span < line->span_count) {
        const struct thread_span *span = &line->spans[cursor->span];
        if (span->end <= at) {
            cursor->span++;
            continue;
        }
        piece_end_at(&piece, span->begin);
        piece_end_at(&piece, span->end);
        if (span->begin <= at) {
            piece.span = span;
            if (piece.state != MODEL_RUNNABLE)
                piece.state = (enum model_state)span->state;
        }
        break;
    }
    cursor->at = piece.end;
    *ret_piece = piece;
    return true;
}
