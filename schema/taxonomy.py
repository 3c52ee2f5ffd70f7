"""The intents a question can carry, what they are called, and how to label them.

The order of ``INTENTS`` is the label order of the built-in model; an artefact carries its own order in its manifest.
A question may carry up to three intents; ``non_fortune`` stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Intent = Literal[
    "career",
    "wealth",
    "marriage",
    "health",
    "personality",
    "wangshui",
    "yongji",
    "shishen",
    "nayin",
    "general",
    "non_fortune",
]
INTENTS: Final[tuple[Intent, ...]] = get_args(Intent)
NON_FORTUNE: Final[Intent] = "non_fortune"
MAX_INTENTS: Final = 3


@dataclass(frozen=True, slots=True)
class IntentInfo:
    """One intent as people see it.

    Attributes:
        chinese: the name shown to labelers.
        rule_type: the formula family that the fortune service runs for it; empty for ``non_fortune``.
        guideline: one line that tells a labeler when it applies.
    """

    chinese: str
    rule_type: str
    guideline: str


TAXONOMY: Final[dict[Intent, IntentInfo]] = {
    "career": IntentInfo("事业运势", "FORMULA_CAREER", "工作、升职、跳槽、创业方向；读书和考试（考研、考公、学业）也在这里"),
    "wealth": IntentInfo("财富运势", "FORMULA_WEALTH", "钱、收入、投资、债务、偏财运、彩票"),
    "marriage": IntentInfo("婚姻感情", "FORMULA_MARRIAGE", "恋爱、婚姻、合婚、桃花、复合；以姻缘或家庭来问的子女"),
    "health": IntentInfo("健康运势", "FORMULA_HEALTH", "身体、疾病、手术、睡眠、怀孕生产"),
    "personality": IntentInfo("性格特点", "FORMULA_CHARACTER", "性格、脾气、天赋、弱点"),
    "wangshui": IntentInfo("命局旺衰", "WANGSHUI", "身强身弱、五行个数、缺什么、从格"),
    "yongji": IntentInfo("喜忌用神", "YONGJI", "喜用神、忌神；按喜忌用什么颜色、方位、数字、名字"),
    "shishen": IntentInfo("十神分析", "SHISHEN", "正官、七杀、正印、偏印、正财、偏财、食神、伤官、比肩、劫财这些名词本身"),
    "nayin": IntentInfo("纳音分析", "NAYIN", "海中金、大林木、炉中火等；按纳音问是什么命"),
    "general": IntentInfo("综合分析", "ALL", "整个命盘、不分方面的运势、大运流年本身、神煞、六亲、搬家、官司"),
    "non_fortune": IntentInfo("非命理", "", "与算命无关：闲聊、天气、购物、编程、当真来问的医疗或法律问题"),
}


def rule_types(intents: list[Intent]) -> list[str]:
    """The formula families for `intents`, in their order, without doubles."""
    return list(dict.fromkeys(t for intent in intents if (t := TAXONOMY[intent].rule_type)))
