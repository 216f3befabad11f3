"""What the encoders are trained to do: reconstruct pixels, match videos with texts, caption, know what they do not know."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from navloop.configs.encoders import MaskedConfig
from navloop.encoders.masked import as_tubelets, gather_tubelets
from navloop.encoders.masking import selected_indices

_MOST = 10.0  # logit beyond which evidence does not grow, or shrink
_EPS = 1e-6  # added to a tubelet's standard deviation


@torch.no_grad()
def reconstruction_targets(pixels: Tensor, selected: Tensor, config: MaskedConfig) -> Tensor:
    """Return the pixels of tubelets, each channel of each shifted and scaled to mean 0 and standard deviation 1.

    Args:
        pixels: float (B, 3, T, size, size), normalised as `config.pixels` says.
        selected: bool (B, N), True for the tubelets wanted, as many in each clip.
        config: Size of a patch, and the normalisation to undo.

    Returns:
        float32 (B, N selected, 2 * patch * patch * 3), ordered time, row, column, channel. Flat tubelets are nearly 0.

    Source: InternVideo1/Pretrain/VideoMAE/engine_for_pretraining.py.
    """
    tubelets = gather_tubelets(as_tubelets(pixels, config.patch), selected_indices(selected)).float()
    # Undoing the normalisation takes its scale alone: the mean goes either way.
    tubelets = tubelets * torch.tensor(config.pixels.std, device=pixels.device).view(3, 1, 1, 1)
    std, mean = torch.std_mean(tubelets, dim=(3, 4, 5), keepdim=True)  # unbiased
    return ((tubelets - mean) / (std + _EPS)).permute(0, 1, 3, 4, 5, 2).flatten(2)


def reconstruction_loss(predictions: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return the mean squared error of predicted tubelets, float32.

    Args:
        predictions: float (B, K, P), as `MaskedAutoencoder` makes them.
        targets: float (B, K, P), as `reconstruction_targets` makes them.
        counted: bool (B, K), True where a tubelet counts; None: all do. A decoder that predicts `predicted`, of which
            the encoder sees some, is to be judged on `hidden[predicted].view(B, K)`.

    Raises:
        ValueError: If predictions and targets are of different numbers of tubelets.

    Source: Tong et al., VideoMAE, NeurIPS 2022, section 3; Wang et al., VideoMAE V2, CVPR 2023, section 3.2.
    """
    torch._check_value(
        predictions.shape[1] == targets.shape[1],
        lambda: "predictions and targets are of different numbers of tubelets; select the same ones for both",
    )
    errors = F.mse_loss(predictions.float(), targets.float(), reduction="none")
    if counted is None:
        return errors.mean()
    return (errors.mean(2) * counted).sum() / counted.sum()


def contrastive_loss(videos: Tensor, texts: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Return how badly videos tell their own text from the batch's others, and texts their video, float32.

    Args:
        videos: float (B, J), of unit length.
        texts: float (B, J), of unit length; row i belongs to video i.
        scale: What multiplies the cosines, the exponential of a learned number.

    Source: Radford et al., CLIP, ICML 2021, figure 3.
    """
    logits = (scale * videos @ texts.T).float()
    return matching_loss(logits, logits.T)


def matching_loss(texts_of_videos: Tensor, videos_of_texts: Tensor, first: int = 0) -> Tensor:
    """Return the symmetric cross-entropy of B pairs of N: each video's among all texts, and each text's among all videos.

    Of many processes, each has the rows of its own pairs alone; the mean of equal parts is the loss of all pairs.

    Args:
        texts_of_videos: float (B, N), of each video with each text.
        videos_of_texts: float (B, N), of each text with each video.
        first: Which of the N the first row's own is; the next row's is the next one.

    Source: open_clip, loss.py, ClipLoss with local_loss.
    """
    own = torch.arange(first, first + len(texts_of_videos), device=texts_of_videos.device)
    return (F.cross_entropy(texts_of_videos, own) + F.cross_entropy(videos_of_texts, own)) / 2


def caption_loss(logits: Tensor, ids: Tensor, padding: int = 0) -> Tensor:
    """Return the mean cross-entropy of each next token of a caption, its end among them, float32.

    Args:
        logits: float (B, L - 1, V), at all tokens but the last.
        ids: int64 (B, L), the captions.
        padding: Id that is not to be predicted.

    Source: paper, section 3.1.2; InternVideo1/Downstream/multi-modalities-downstream/CoTrain.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), ignore_index=padding)


def evidential_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over clips of the expected surprise under the Dirichlet distribution that logits stand for, float32.

    Args:
        logits: float (B, classes).
        targets: Classes, int64 (B,), or shares of them, float (B, classes), as mixing and smoothing make.

    Source: Sensoy et al., Evidential Deep Learning, 2018, equation 4; InternVideo1/Downstream/Open-Set-Action-Recognition, with
        neither its KL term nor its calibration, as published.
    """
    alpha = concentrations(logits)
    shares = targets if targets.is_floating_point() else F.one_hot(targets, alpha.shape[1]).to(alpha.dtype)
    return (shares * (alpha.sum(1, keepdim=True).log() - alpha.log())).sum(1).mean()


def concentrations(logits: Tensor) -> Tensor:
    """Return the Dirichlet concentrations that logits (..., classes) stand for: 1 and evidence exp(logit), float32, above 1."""
    return logits.float().clamp(-_MOST, _MOST).exp() + 1


def evidential_uncertainty(logits: Tensor) -> Tensor:
    """Return how little is known of clips, float32 (...): classes over the sum of their concentrations, in (0, 1).

    Source: Bao et al., DEAR, ICCV 2021, equation 2.
    """
    alpha = concentrations(logits)
    return alpha.shape[-1] / alpha.sum(-1)
