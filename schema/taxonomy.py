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
        examples: questions that carry it alone.
    """

    chinese: str
    rule_type: str
    guideline: str
    examples: tuple[str, ...] = ()


TAXONOMY: Final[dict[Intent, IntentInfo]] = {
    "career": IntentInfo(
        "事业运势",
        "FORMULA_CAREER",
        "工作、升职、跳槽、创业方向；读书和考试（考研、考公、学业）也在这里",
        (
            "空姐面试第二轮，身高差一公分，可不可能破格",
            "电脑桌面换成啥色的，升职能快点？",
            "今年考研能上岸吗",
        ),
    ),
    "wealth": IntentInfo(
        "财富运势",
        "FORMULA_WEALTH",
        "钱、收入、投资、债务、偏财运、彩票",
        (
            "啥命能发财",
            "我是不是天生给别人送钱的",
            "房子高位买的，现在跌了八十万，还能等到解套吗",
        ),
    ),
    "marriage": IntentInfo(
        "婚姻感情",
        "FORMULA_MARRIAGE",
        "恋爱、婚姻、合婚、桃花、复合；以姻缘或家庭来问的子女",
        (
            "红鸾星哪年动",
            "年轻时错过的那个人，老了还能在一起吗",
            "有两个人同时追我，选哪个对我婚姻好",
        ),
    ),
    "health": IntentInfo(
        "健康运势",
        "FORMULA_HEALTH",
        "身体、疾病、手术、睡眠、怀孕生产",
        (
            "年底爬雪山去，有没有意外之灾",
            "体弱多病到几岁为止",
            "我外公这回脑梗凶险不",
        ),
    ),
    "personality": IntentInfo(
        "性格特点",
        "FORMULA_CHARACTER",
        "性格、脾气、天赋、弱点",
        (
            "抠门是天生的？",
            "我身上有什么优点是自己没发现的呀",
            "冷血吗我？亲戚去世我都没哭出来",
        ),
    ),
    "wangshui": IntentInfo(
        "命局旺衰",
        "WANGSHUI",
        "身强身弱、五行个数、缺什么、从格",
        (
            "土是不是过旺了",
            "合化之后水变木，五行重新数一遍是几个",
            "我叫鑫，爸妈当年说缺金，到底是不是真缺啊",
        ),
    ),
    "yongji": IntentInfo(
        "喜忌用神",
        "YONGJI",
        "喜用神、忌神；按喜忌用什么颜色、方位、数字、名字",
        (
            "喜土的人适合住几楼",
            "官杀混杂该去哪个留哪个，用什么五行去",
            "缺的是忌神还要不要补",
        ),
    ),
    "shishen": IntentInfo(
        "十神分析",
        "SHISHEN",
        "正官、七杀、正印、偏印、正财、偏财、食神、伤官、比肩、劫财这些名词本身",
        (
            "七杀坐空亡有没有力",
            "看一下时上七杀一位贵成立没",
            "地支三个偏印一个正印，天干透食神",
        ),
    ),
    "nayin": IntentInfo(
        "纳音分析",
        "NAYIN",
        "海中金、大林木、炉中火等；按纳音问是什么命",
        (
            "1989年蛇是大林木还是路旁土",
            "覆灯火和大海水，水火相冲不",
            "为什么庚申两个都是金，纳音却是木？",
        ),
    ),
    "general": IntentInfo(
        "综合分析",
        "ALL",
        "整个命盘、不分方面的运势、大运流年本身、神煞、六亲、搬家、官司",
        (
            "我和父亲的缘分薄不薄",
            "三奇贵人倒着排还算三奇吗",
            "往后这十年是个啥光景",
        ),
    ),
    "non_fortune": IntentInfo(
        "非命理",
        "",
        "与算命无关：闲聊、天气、购物、编程、当真来问的医疗或法律问题",
        (
            "今年春晚怎么样",
            "黄金现在什么价",
            "发烧要不要去医院",
        ),
    ),
}

BORDER_CASES: Final[tuple[str, ...]] = (
    "术语加生活领域，两个都标：七杀格适不适合自己开公司 → 十神分析 + 事业运势",
    "日常问题里出现行话，不算命理：黄金现在什么价、发烧要不要去医院 → 非命理",
    "身体：为什么是我、能不能好、多久、意外、手术、寿命、疾病星 → 健康运势；其他神煞 → 综合分析",
    "怎么治、吃什么药、挂什么科、化验值 → 非命理",
    "钱与工作：盈亏、价格、债务 → 财富运势；方向、职位、合伙 → 事业运势；两样都问才标两个",
    "以十神命名的格局（食神制杀、财官双美）→ 十神分析；日主强弱、五行个数 → 命局旺衰；用什么避什么，说成十神也一样 → 喜忌用神",
    "只问怎么补救时，前提（身弱、缺金）不另标",
    "流年、大运只作时间不加标签；问流年、大运本身 → 综合分析",
    "偏财带年份、运气或彩票 → 财富运势；带柱位、藏干、透干 → 十神分析",
    "自己的性格作为结果的原因 → 性格特点 + 结果；对方的性格只是背景 → 只标结果",
    "两人之间的纳音 → 纳音分析；话里说到对象或婚姻，再加婚姻感情",
    "为某一生活领域问颜色、方位、物件，没有提喜忌 → 只标那个领域",
)
"""Decided once, for everyone who labels."""


def rule_types(intents: list[Intent]) -> list[str]:
    """The formula families for `intents`, in their order, without doubles."""
    return list(dict.fromkeys(t for intent in intents if (t := TAXONOMY[intent].rule_type)))
