/** Pictures to send, made here so that what is in them is known: PNG (RFC 2083) of one colour, or of none of its own. */

import { deflateSync, crc32 } from "node:zlib";

function chunk(kind: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(kind, "latin1"), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

/** `pixel` gives red, green and blue of each place. */
export function png(width: number, height: number, pixel: (x: number, y: number) => readonly [number, number, number]): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const rows = Buffer.alloc((width * 3 + 1) * height);
  for (let y = 0, at = 0; y < height; y += 1) {
    rows[at++] = 0;
    for (let x = 0; x < width; x += 1) for (const value of pixel(x, y)) rows[at++] = value;
  }
  const mark = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([mark, chunk("IHDR", head), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

/** A sun over hills: something to look at, wider than high. */
export function landscape(): Buffer {
  const [width, height] = [640, 480];
  return png(width, height, (x, y) => {
    const hill = 300 + 60 * Math.sin(x / 70) + 30 * Math.sin(x / 23);
    if (y > hill + 70) return [38, 92, 66];
    if (y > hill) return [70, 132, 92];
    if ((x - 400) ** 2 + (y - 170) ** 2 < 60 ** 2) return [255, 214, 102];
    return [120 + y / 4, 178 + y / 8, 226 - y / 6].map(Math.round) as [number, number, number];
  });
}
