"""The words that people and programs use for phone numbers, and for numbers that are not."""

import re

# ruff: noqa: E501 (lists of words)


# The bars between alternatives, outside groups and groups within them.
OUTERMOST_BAR = re.compile(r"\|(?![^()]*(?:\([^()]*\)[^()]*)*\))")


def by_first_letter(words: str) -> str:
    """The same alternatives grouped by first letter, which is five times as fast."""
    groups: dict[str, list[str]] = {}
    for word in OUTERMOST_BAR.split(words):
        is_letter = word[0].isalpha() and word[1:2] not in ("?", "*", "{")
        groups.setdefault(word[0] if is_letter else "", []).append(word)
    return "|".join(
        f"{letter}(?:{'|'.join(word.removeprefix(letter) for word in group)})"
        for letter, group in groups.items()
    )


# These count anywhere within a word.
NAMES = (
    r"(?<!head)(?<!ear)(?<!micro)(?<!saxo)(?<!smart)(?<!\bi)phone|(?<!auto)mobile|mobiil|mobil(?:nummer|n[ií]|telefon|iil)|msisdn|whats[ _-]?app|viber|t[eé]l[eéè](?:f|ph)[oó]n"
    r"|telef[oó]o?n|telem[oó]ve|telefax|cellul[aá]r|celular|m[oó]vil|landline|hotline|helpline|puhelin"
    r"|kännykkä|matkapuh|tālru[nņ]|komórk|đi[eệ]n tho[aạ]i|di động|telepon"
    r"|телефон|мобил|мобіл|вотсап|ватсап|вайбер|позвон|звоните|звонить|перезвон|подзвон|дзвон"
    r"|τηλ[εέ]φων|κινητ[οό]|הטלפון|טלפון|נייד|וואטסאפ|هاتف|جوال|موبايل|موبایل|واتساب|تلفن|همراه"
    r"|फ़ोन|फोन|फ़ोन|मोबाइल|ফোন|মোবাইল|தொலைபேசி|கைபேசி|โทร|มือถือ"
    r"|전화|휴대폰|핸드폰|연락처|电话|電話|手机|手機|携帯|テル"
    r"|(?:contact|handy|call[ _-]?back|ruf|durchwahl|r[eé]ponse)[ _-]?(?:number|nummer|num|no\b|nr\b)"
)
# These must be whole words, some with an ending.
SHORT = (
    r"tel|tele[pf]\w*|tlf|tlph|telp|télé?|fax\w*|mob|mobs|mobil\w*|mobiel\w*|cell|cells|cell ?no|gsm|sms"
    r"|handy(?=\W{0,3}$|\W{0,3}(?:nr|nummer|ist|no))|portable(?=\W{0,3}$| au| est)|call|calls|called|calling|dial|dialled|dialed|ring(?= (?:us|me|oss|meg|mig|på|til|gjerne)|\W{0,3}$)|wa|puh|kom(?=[.:])|sími|simi|simu|cep"
    r"|тел|моб|сот|τηλ|κιν|đt|sđt|hp(?=\.?\ ?:)|whats|text me|reach me|ruf|anruf|rufen sie|appelez|llame|llamar|ligue"
    r"|chiamare?|bel|soita|helista|zadzwoń|zavolejte|zvoni|ringe?n?"
)
WORD = rf"(?:\w*(?:{by_first_letter(NAMES)})\w*|{by_first_letter(SHORT)})"
# A name and its value within a text, as JSON, a Python dict or Markdown writes them: the quotes may
# be escaped several times.
QUOTES = r"[\\\"'`*_]{0,9}"
ASSIGNED = rf"{QUOTES}\s{{0,3}}[:=,|]{{1,2}}>?[\[{{(\s\\\"'`*_]{{0,16}}"
BEFORE = re.compile(
    rf"(?<!\w)(?P<word>{WORD})(?!\w)(?P<between>"
    rf"[^\w\n]{{0,3}}(?:\w{{1,12}}[^\w\n]{{1,3}}){{0,3}}"
    rf"|{ASSIGNED}(?:\w{{1,20}}{ASSIGNED}){{0,2}}|wa\.me/)$"
    r"|(?P<link>\bwa\.me/|\b(?:tel|sms|callto|whatsapp|sip):(?://)?)$"
)
# Whether searching is worth it at all: the first letters of those words.
HINT = re.compile(
    r"pho|mob|tel|tlf|tlp|tél|cel|fax|cal|sms|gsm|han|por|msi|wha|vib|con|ruf|lan|hot|hel|puh|kän|mat|móv|mov"
    r"|tāl|kom|đi|di đ|đt|sđt|hp|wa|tex|rea|anr|app|lla|lig|chi|bel|soi|zad|zav|zvo|rin|dia|dur|rép|rep|sím|sim|cep"
    r"|тел|моб|сот|вот|ват|вай|поз|зво|пер|под|дзв|τηλ|κιν|טלפ|נייד|ואטס|هات|جوا|موب|وات|تلف|همر"
    r"|फ|मोब|ফ|মোব|தொ|கைபே|โทร|มือ|전화|휴대|핸드|연락|电|電|手|携|テル"
)
# Other things that have numbers, and units.
THINGS = (
    r"ids?|uuid|guid|refs?|references?|refer[eê]ncia|referenz|aktenzeichen|hash|sha\d*|md5|checksum|tokens?|keys?|urls?|types?"
    r"|models?|modell|brand|versions?|os|serials?|serien|imei|meid|imsi|iccid|eid|sku|ean|upc|gtin|isbn|issn|asin|mpn|barcode"
    r"|order|bestell(?:ung|nummer|nr)?|auftrag\w*|commande|pedido|ordine|encomenda|bestelling|tellimus\w*|tilaus\w*"
    r"|zam[oó]wieni\w*|objedn[aá]vk\w*|заказ\w*|замовлення|sipari[sş]\w*|注文\w*|订单\w*|訂單\w*|주문\w*|طلب"
    r"|invoices?|rechnung\w*|facture|factura|fattura|fatura|arve|lasku|faktur\w*|счет\w*|счёт\w*|рахун\w*|فاتورة|发票\w*"
    r"|tickets?|vorgang\w*|pilet\w*|cases?|claims?|incidents?|issues?|bugs?|tracking|track|shipments?|sendung\w*|parcels?|package|pakk?et?\w*"
    r"|consignment|awb|colis|suivi|env[ií]o|spedizione|трек\w*|посылк\w*|parts?|teilenummer|art(?:icle|ikel)?\w*|items?|products?|produkt\w*|produit|producto"
    r"|товар\w*|артикул\w*|booking|buchung\w*|reservation|reservierung|reserva|prenotazione|broneering\w*|бронь|pnr|confirmation"
    r"|membership|account|konto\w*|acct"
    r"|contracts?|vertrag\w*|policy|polic[ey]|licen[cs]e|licence|permit|registration|vat|tax|tin|ein|ssn|cui|cif|nif|kmkr|reg|inn|инн|огрн|бик|steuer\w*|ust"
    r"|receipts?|transactions?|txn?|trx|payments?|batch|lot|charge|builds?|release|revision|rev|commit|chunk|row|rows|col|column|offset|index"
    r"|errors?|err|errno|code|codes|status|exit|exception|fehler\w*|ошибк\w*|port|pid|tid|thread|process|proc|session|request|req|trace|span|job|task|run|seq"
    r"|sequence|block|node|device|sensor|meter|vin|chassis|plate|passport|pin|otp|pass|password|passcode|cvv|zip|postcode|postal|plz"
    r"|duration|durations?|ms|seconds?|secs?|minutes?|mins|timestamp|ts|epoch|unix|date|dated?|datum|created|updated|modified|verified|expires|expiry|since|until"
    r"|count|counts|total|totals|sum|summe|size|length|len|width|height|depth|weight|price|prices|preis|prix|precio|cost|costs|amount|amounts|betrag|fee|fees|rate|rates|usage|bytes|limit"
    r"|quota|balance|credits?|plan|score|scores|points|level|lat|latitude|lng|lon|long|longitude|coordinates?|coords?|gps|took|lasted|failed|returned|with|value|values"
    r"|data|traffic|revenue|population|views|visitors|downloads|budget"
)
THINGS = by_first_letter(THINGS)
THING = re.compile(rf"\b(?:{THINGS})\b")
PEOPLE = r"customer|kunden?\w*|klient\w*|client|cliente|asiakas\w*|клиент\w*|member|user|employee|student|patient|caller|contact"
NUMBER_WORD = r"(?:number|numbers|numero|número|numéro|num|no|nr|nbr|nummer|номер\w*|id|code)"
# What stands directly before a number of such a thing.
BEFORE_THING = re.compile(
    rf"(?:(?<![^\W_])(?:(?:{THINGS}|{PEOPLE})[ _-]?{NUMBER_WORD}(?:[^\w\n]{{1,3}}(?:is|was|ist|est|es))?|{THINGS})"
    r"|[#№])[^\w\n]{0,4}$"
)
AFTER_CALL = re.compile(
    r"(?:tool|api|function|rpc|grpc|system|method|model|remote|http|rest|webhook|llm|procedure|sub|async|last|roll|margin|conference|video|db|database|sql)[ _-]$"
)
# BEFORE_THING never needs to see more than this many words before a number.
LAST_WORDS = 6
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-.]+")


def words_of(name: str) -> str:
    """phoneNumber and phone_number as words."""
    return CAMEL.sub(" ", name).casefold()


KEY = re.compile(
    rf"{NAMES}|(?<![a-z])(?:tel|tele|fax|sms|cell|gsm|tlf|handy|mobil|mob|portable|whatsapp|wa|тел|моб)(?![a-z])"
)


def names_a_phone(key: str) -> bool:
    """Whether a JSON object's key stands for phone numbers."""
    words = words_of(key)
    found = list(KEY.finditer(words))
    return bool(found) and not THING.search(words, found[-1].end())


def names_a_thing(key: str) -> bool:
    return bool(THING.search(words_of(key)))


def is_after_thing(before: str) -> bool:
    """Whether the text directly before a number says that it is a number of something else."""
    # Looks only at the last words: a search from the start would try every position.
    lowered = before.casefold()
    words = lowered.rsplit(None, LAST_WORDS)
    start = len(words[0]) if len(words) > LAST_WORDS else 0
    return bool(BEFORE_THING.search(lowered, start))


def is_after_phone_word(before: str) -> bool:
    """Whether a word for phone stands before the number, with nothing else named in between."""
    lowered = before.casefold()
    hint = HINT.search(lowered)
    if not hint:
        return False
    # Starts at the beginning of the word with the hint.
    found = BEFORE.search(lowered, lowered.rfind(" ", 0, hint.start()) + 1)
    if not found:
        return False
    if found["link"]:
        return True
    word, start = found["word"], found.start()
    if word.startswith("call") and AFTER_CALL.search(lowered, max(start - 16, 0), start):
        return False
    cased = before[found.start("word") : found.end("word")] if len(lowered) == len(before) else word
    if (
        len(word) > 4
        and (name := KEY.search(words_of(cased)))
        and THING.search(words_of(cased), name.end())
    ):
        return False
    return not BEFORE_THING.search(found["between"])
