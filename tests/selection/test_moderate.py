import torch

from pydistill.selection.moderate import Moderate
from tests.selection.known import candidates, generator


def chosen(features, count):
    given = candidates(len(features), features=torch.tensor(features))
    return Moderate().choose(given, count, generator()).positions.tolist()


def test_by_hand_the_nearest_to_the_median_distance_are_chosen_first():
    """The mean is 0, distances are 1, 1, 2, 2.5, 6, 6.5: their median is 2.25."""
    features = [[-1.0], [1.0], [-2.0], [2.5], [6.0], [-6.5]]
    assert chosen(features, 6) == [2, 3, 0, 1, 4, 5]
    assert chosen(features, 2) == [2, 3]


def test_an_odd_number_has_its_middle_distance_for_median():
    features = [[0.0, 3.0], [0.0, -3.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]
    assert chosen(features, 3) == [2, 3, 4]


def test_one_image_and_equal_images_are_taken_in_their_order():
    assert chosen([[4.0, 2.0]], 1) == [0]
    assert chosen([[1.0]] * 5, 3) == [0, 1, 2]
