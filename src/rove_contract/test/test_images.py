# SPDX-License-Identifier: Apache-2.0
"""Pictures: what is decoded, what is refused before it is decoded, and how pictures are resized."""

import array
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rove_contract import images


def gradient(height=48, width=64):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 3 % 256, y * 4 % 256, np.full((height, width), 200)], axis=-1).astype(np.uint8)


def test_png_keeps_every_pixel_and_the_channel_order():
    assert np.array_equal(images.decode(images.encode_png(gradient())), gradient())


def test_jpeg_keeps_the_channel_order():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 250
    assert np.abs(images.decode(images.encode_jpeg(red, 95)).astype(int) - red).max() < 8


def test_every_kind_of_buffer_is_read():
    data = images.encode_png(gradient())
    for kind in (bytearray(data), memoryview(data), array.array("B", data), np.frombuffer(data, np.uint8)):
        assert np.array_equal(images.decode(kind), gradient())


def png_header(height, width):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return images.PNG_MAGIC + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("height, width", [(60_000, 60_000), (2**31 - 1, 1), (1, 2**25 + 1), (0, 64)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(height, width):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(images.ImageError, match=f"declares {height} x {width} px"):
        images.decode(png_header(height, width))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize("data", [b"", b"nothing", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"GIF89a" + bytes(50)])
def test_what_is_no_picture_is_named(data):
    with pytest.raises(images.ImageError, match="expected a JPEG or PNG"):
        images.decode(data)


@pytest.mark.parametrize("encode", [images.encode_jpeg, images.encode_png])
def test_a_picture_that_was_cut_off_is_refused(encode):
    data = encode(gradient())
    with pytest.raises(images.ImageError, match="cut off"):
        images.decode(data[: len(data) * 2 // 3])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_pictures_give_a_picture_or_a_sentence(data):
    encoded = bytearray(data.draw(st.sampled_from([images.encode_jpeg(gradient()), images.encode_png(gradient())])))
    for _ in range(data.draw(st.integers(1, 8))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert images.decode(encoded).dtype == np.uint8
    except images.ImageError as error:
        assert str(error)


def test_shrinking_takes_the_mean_and_leaves_the_right_size_alone():
    picture = gradient(192, 192)
    mean = picture.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
    assert np.abs(images.resize(picture, (96, 96)) - mean).max() <= 0.5
    assert images.resize(picture, (192, 192)) is picture
    assert images.resize(picture, (448, 300)).shape == (448, 300, 3)


def test_what_is_no_array_of_a_picture_is_refused():
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        for use in (images.encode_jpeg, images.encode_png, lambda rgb: images.resize(rgb, (2, 2))):
            with pytest.raises(images.ImageError, match="expected a picture"):
                use(wrong)


def test_an_animation_keeps_its_pictures_and_needs_one():
    pictures = [np.full((24, 32, 3), level, np.uint8) for level in (20, 220, 20)]
    data = images.encode_animation(pictures, 0.1, 90)
    done, animation = cv2.imdecodeanimation(np.frombuffer(data, np.uint8))
    assert done and len(animation.frames) == 3
    assert [int(frame[..., :3].mean() > 128) for frame in animation.frames] == [0, 1, 0]
    with pytest.raises(images.ImageError, match="needs a picture"):
        images.encode_animation([], 0.1)
