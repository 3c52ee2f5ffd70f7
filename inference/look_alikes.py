"""What tells a time that is asked about from what only looks like one: a birth, a pillar of a chart, a duration, an amount.

Patterns whose name ends in BEFORE, BEGINS or IN stand right before the expression and end in ``$``; BIRTHDAY is part of it;
the others stand right after it.
"""

from __future__ import annotations

import re
from typing import Final

from inference.numerals import HAN, UP_TO_99

STEMS: Final = "甲乙丙丁戊己庚辛壬癸"
BRANCHES: Final = "子丑寅卯辰巳午未申酉戌亥"
ANIMALS: Final = "鼠牛虎兔龙蛇马羊猴鸡狗猪"
PAIR: Final = f"[{STEMS}][{BRANCHES}]"

# After a time of birth; after one to come; before one; before a month of one.
_OF: Final = "[ ,]{0,2}的?[ ,]{0,2}"
_HOUR: Final = f"[{BRANCHES}]时|(?:[早晚]上?|凌晨|[上中下]午|夜里){UP_TO_99}点|点(?:[0-9]{{1,2}}分|[半多整])?生"
BORN: Final = re.compile(
    rf"[^,.。!?;年]{{0,8}}?(?:出生|生人|生的|生日|早产|那天生|{_HOUR})"
    rf"|{_OF}(?:[{ANIMALS}](?!年)|[{BRANCHES}]时|[0-9]{{1,2}}:[0-9]{{2}}|[男女](?!朋|友|儿|票)|宝宝|娃|[农阴阳公]历"
    rf"|生(?![意活病效孩娃宝个二三气财育产下小]|[男女][孩儿宝]))|的(?:孩子|小孩|人|[ ,.。!?;]|$)"
)
TO_BE_BORN: Final = re.compile(f"{_OF}(?:这.年)?(?:出生|生的|生人|生于|生(?=[ ,.。!?;]|$))")
SIGN: Final = re.compile(f"{_OF}属([{ANIMALS}])")
BORN_BEFORE: Final = re.compile(
    f"(?:生[于在]|出生(?:那年是?)?|我是|本人|宝宝|娃|孩子?|女儿|儿子|闺女|孙[女子]|[农阴阳]历|[乾干坤]造|属[{ANIMALS}])[:, ]?$"
)
BORN_IN: Final = re.compile(f"(?:生日[是在:]?|[{STEMS}][金木水火土])$")
BIRTHDAY: Final = re.compile(f"月份?[初廿0-9{HAN}十拾]|[-./][0-9]{{1,2}}[-./]")
PILLAR: Final = re.compile(f"[命柱]|[ ,、]{{0,2}}{PAIR}(?:[月日时柱 ,、]|$)")
# What makes 20年 a duration: before it, after it, after it even where it begins a clause; and what a clause begins after.
LASTING_BEFORE: Final = re.compile(
    "(?:[了过满整近快约共有干做当第每超达逾隔休欠读住判坐熬龄供抽吸租差]|至少|最多|大概|已经|贷款?|分期|结婚|工作|打工|从业|认识|恋爱"
    "|单身|守寡|分居|婚姻|相[处恋]|异地|经商|创业|当兵|教书|开店|血压|尿病)$"
)
LASTING: Final = re.compile("[了多间期级制龄限]|来(?!财|钱)|以[上下]|之久|左右|经验|工龄|的?老|的时间|的?(?:房贷|贷款)")
LASTING_BOND: Final = re.compile("的?(?:感情|婚姻|夫妻|交情)")
CLAUSE_BEGINS: Final = re.compile("(?:^|[ ,.!?;:、(我你他她在从自于到是看问测算求下和跟与及])$")
# What makes 2027 an amount or a code.
AMOUNT_BEFORE: Final = re.compile("(?:[¥$#第欠花薪赚亏借价号码楼]|工资|存款|预算|尾数|房租|qq|微信)[:是了]?$")
NO_AMOUNT: Final = (
    "(?![0-9块米斤点届级款版号室房栋路班%]|[a-z](?![a-z])|-[0-9]{3}|[.][0-9]+[元块万%]"
    "|元(?!旦|宵|气)|万(?!事)|名(?!声|利|气)|个(?!人)|分(?!手|开|居)|平(?!安|稳))"
)
