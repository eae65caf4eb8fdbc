/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_VIEWER_EXPORT_SVG_SCRIPT_H
#define WAITSCOPE_VIEWER_EXPORT_SVG_SCRIPT_H

/*
 * What makes the picture zoom and search: the content of a CDATA section, the same in every file.
 * It takes the frames from the document (see svg.c) and asks nothing of the network.
 */
extern const char svg_script[];

#endif
