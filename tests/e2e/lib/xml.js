// SPDX-License-Identifier: MIT
'use strict';
/* A strict parser for well-formed XML without a DTD: throws at the first thing that is not. */

const NAME = /[A-Za-z_:][\w:.-]*/y;
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

class Parser {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  fail(why) {
    const before = this.text.slice(0, this.at);
    throw new Error(`XML, line ${before.split('\n').length}: ${why}: ${JSON.stringify(this.text.slice(this.at, this.at + 60))}`);
  }

  take(text) {
    if (!this.text.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  until(end) {
    const found = this.text.indexOf(end, this.at);
    if (found < 0) this.fail(`no ${end}`);
    const part = this.text.slice(this.at, found);
    this.at = found + end.length;
    return part;
  }

  space() {
    while (/\s/.test(this.text[this.at] || '')) this.at++;
  }

  name() {
    NAME.lastIndex = this.at;
    const match = NAME.exec(this.text);
    if (!match) this.fail('no name');
    this.at += match[0].length;
    return match[0];
  }

  decode(raw) {
    if (/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/.test(raw)) this.fail('a character that XML does not have');
    return raw.replace(/&([^;]*)(;?)/g, (whole, name, end) => {
      if (end && name in ENTITIES) return ENTITIES[name];
      const code = /^#(?:x([0-9a-fA-F]+)|(\d+))$/.exec(name);
      if (!end || !code) this.fail(`no entity: ${whole}`);
      return String.fromCodePoint(code[1] ? parseInt(code[1], 16) : Number(code[2]));
    });
  }

  attributes() {
    const found = {};
    for (;;) {
      const before = this.at;
      this.space();
      if ('/>?'.includes(this.text[this.at])) return found;
      if (before === this.at) this.fail('no space before an attribute');
      const key = this.name();
      this.space();
      if (!this.take('=')) this.fail('no =');
      this.space();
      const quote = this.text[this.at++];
      if (quote !== '"' && quote !== "'") this.fail('no quote');
      const raw = this.until(quote);
      if (raw.includes('<')) this.fail('< in an attribute');
      if (key in found) this.fail(`${key} twice`);
      found[key] = this.decode(raw);
    }
  }

  skip() {
    for (;;) {
      this.space();
      if (this.take('<!--')) {
        if (this.until('-->').includes('--')) this.fail('-- in a comment');
      } else if (this.take('<?')) this.until('?>');
      else return;
    }
  }

  element() {
    if (!this.take('<')) this.fail('no element');
    const node = { name: this.name(), attributes: this.attributes(), children: [], text: '' };
    if (this.take('/>')) return node;
    if (!this.take('>')) this.fail('no >');
    while (!this.take('</')) {
      if (this.at >= this.text.length) this.fail(`no end of ${node.name}`);
      if (this.take('<!--')) this.until('-->');
      else if (this.take('<![CDATA[')) node.text += this.until(']]>');
      else if (this.text[this.at] === '<') node.children.push(this.element());
      else {
        const end = this.text.indexOf('<', this.at);
        const raw = this.text.slice(this.at, end < 0 ? this.text.length : end);
        if (raw.includes(']]>')) this.fail(']]> in text');
        node.text += this.decode(raw);
        this.at += raw.length;
      }
    }
    if (this.name() !== node.name) this.fail(`the end of another element than ${node.name}`);
    this.space();
    if (!this.take('>')) this.fail('no >');
    return node;
  }

  document() {
    this.take('\ufeff');
    this.skip();
    const root = this.element();
    this.skip();
    if (this.at !== this.text.length) this.fail('something after the end');
    return root;
  }
}

function parseXml(text) {
  return new Parser(text).document();
}

function walk(node, visit) {
  visit(node);
  for (const child of node.children) walk(child, visit);
}

module.exports = { parseXml, walk };
