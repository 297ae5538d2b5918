"""Model cards: what a kept model is, what it was made of and how good it is, for people.

After Mitchell et al., "Model cards for model reporting", FAT* 2019, as far as it is known.
"""

from __future__ import annotations

from umbel.learning.model import Model
from umbel.learning.registry import Version


def card(version: Version, model: Model) -> str:
    """Write a version's card as Markdown.

    Args:
        version: what is known about it.
        model: the model.
    """
    design, lineage = model.design, version.lineage
    stages = f", in {' and '.join(version.stages)}" if version.stages else ""
    lines = [
        f"# {version.name}, version {version.number}{stages}",
        "",
        f"{version.words}. Saved {version.created} by umbel {version.umbel}.",
    ]
    if version.notes:
        lines += ["", version.notes]
    lines += ["", "## What it goes by", ""]
    lines += [f"- `{feature}`" for feature in design.features]
    if design.classes:
        lines += ["", f"Classes: {', '.join(f'`{value}`' for value in design.classes)}."]
    lines += ["", "## Measures", ""]
    if version.metrics:
        lines += ["| measure | value |", "|---|---|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in version.metrics.items()]
    else:
        lines.append("None were kept.")
    lines += ["", "## Data and training", "", f"- rows: {version.rows:,}"]
    if lineage is None:
        return "\n".join([*lines, "- where it comes from is not known", ""])
    lines += [f"- parts: {', '.join(lineage.parts)}", f"- plan: `{lineage.plan}`"]
    lines += [f"- reads: {source}" for source in lineage.reads]
    lines.append(f"- found {f'by steps: `{lineage.strategy}`' if lineage.strategy else 'exactly'}")
    if lineage.settings:
        lines.append(f"- settings: `{lineage.settings}`, seed {lineage.seed}")
    lines += ["", "## Privacy", "", lineage.policy.strip(), ""]
    lines.append(f"- secure aggregation: {'yes' if lineage.masked else 'no'}")
    if lineage.epsilon is None:
        lines.append("- differential privacy: none")
    else:
        lines.append(
            f"- differential privacy: epsilon {lineage.epsilon:.3g} at delta {lineage.delta:g}"
        )
    return "\n".join([*lines, ""])


__all__ = ["card"]
