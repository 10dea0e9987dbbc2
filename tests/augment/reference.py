"""The augmentation once more: slow, one image and one pixel at a time, in NumPy, from the definitions."""

import math

import numpy as np


def color(image, row):
    out = image + row["brightness"]
    mean = out.mean(0, keepdims=True)
    out = (out - mean) * row["saturation"] + mean
    return (out - out.mean()) * row["contrast"] + out.mean()


def crop(image, row):
    _, height, width = image.shape
    out = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            y, x = i + int(row["shift_y"]), j + int(row["shift_x"])
            if 0 <= y < height and 0 <= x < width:
                out[:, i, j] = image[:, y, x]
    return out


def cutout(image, row):
    out = image.copy()
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            if row["cut_top"] <= i < row["cut_bottom"] and row["cut_left"] <= j < row["cut_right"]:
                out[:, i, j] = 0
    return out


def flip(image, row):
    return image[:, :, ::-1].copy() if row["flip"] else image


def _sample(image, map_offset):
    """Bilinear, zero outside; ``map_offset`` takes an offset (x, y) from the centre to where to read."""
    _, height, width = image.shape
    out = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            x, y = map_offset(j - (width - 1) / 2, i - (height - 1) / 2)
            x, y = x + (width - 1) / 2, y + (height - 1) / 2
            for yy in (math.floor(y), math.floor(y) + 1):
                for xx in (math.floor(x), math.floor(x) + 1):
                    if 0 <= yy < height and 0 <= xx < width:
                        out[:, i, j] += (1 - abs(y - yy)) * (1 - abs(x - xx)) * image[:, yy, xx]
    return out


def scale(image, row):
    return _sample(image, lambda x, y: (row["scale_x"] * x, row["scale_y"] * y))


def rotate(image, row):
    cos, sin = math.cos(row["angle"]), math.sin(row["angle"])
    return _sample(image, lambda x, y: (cos * x - sin * y, sin * x + cos * y))


def augment(images, parameters):
    done = []
    for image, values in zip(images.double().numpy(), parameters.values.double().numpy(), strict=True):
        row = dict(zip(parameters.COLUMNS, values, strict=True))
        for step in (color, crop, cutout, flip, scale, rotate):
            image = step(image, row)
        done.append(image)
    return np.stack(done)
