// Values with their units: exactly, and scaled for reading.
'use strict';

const SCALES = {
  ns: [[1e9, 's'], [1e6, 'ms'], [1e3, 'µs'], [1, 'ns']],
  s: [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs'], [1e-9, 'ns']],
  bytes: [[2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB'], [1, 'B']],
  'bytes/s': [[1e12, 'TB/s'], [1e9, 'GB/s'], [1e6, 'MB/s'], [1e3, 'kB/s'], [1, 'B/s']],
  frac: [[0.01, '%']],
};

/** The unit to show a column in, {factor, unit}: the largest in which its largest value is at least one. */
function scaleOf(values, unit) {
  const scales = SCALES[unit];
  if (!scales) return { factor: 1, unit };
  let largest = 0;
  for (const value of values) if (Math.abs(value) > largest) largest = Math.abs(value);
  const [factor, name] = scales.find(([size]) => largest >= size) || scales[scales.length - 1];
  return { factor, unit: name };
}

/** A value for reading: four digits and a unit. */
function shown(value, unit) {
  if (value === null || Number.isNaN(value)) return '–';
  const scale = scaleOf([value], unit), scaled = value / scale.factor;
  const digits = Number.isInteger(scaled) && Math.abs(scaled) < 1e6 ? String(scaled) : String(Number(scaled.toPrecision(4)));
  return scale.unit === '%' ? `${digits}%` : scale.unit ? `${digits} ${scale.unit}` : digits;
}

/** A value as it is in the results, with its unit. */
function exactly(value, unit) {
  if (value === null || Number.isNaN(value)) return 'none';
  return unit && unit !== 'frac' ? `${value} ${unit}` : String(value);
}

/** A value for reading and, where that is not all of it, exactly. */
function both(value, unit) {
  const short = shown(value, unit), exact = exactly(value, unit);
  return exact === short ? short : `${short} (${exact})`;
}

/** A heading with the unit that its numbers are in. */
function headed(label, scale) {
  return scale.unit ? `${label} (${scale.unit})` : label;
}
