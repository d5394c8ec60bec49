"""What the oracle's writer says: clauses without commas and capitals, so many that for each common letter some go without it."""

CLAUSES: dict[str, tuple[str, ...]] = {
    "en": (
        "we walk along the road to the river",
        "she reads the long letter from her sister",
        "the sun is bright and the air is warm",
        "our friends arrive late in the evening",
        "he tells us stories about his travels",
        "the children sing while the rain falls",
        "this plan will work and all will win",
        "it is a warm autumn and all is calm in town",
        "his dog and his cat ran to a park",
        "the old man found a good book",
        "we sat and had a long talk about the town",
        "he is here and she is glad",
        "our car was moving along our road",
        "the boys read old books at the school",
        "the dog likes to sleep under the trees",
        "he gives me the news every evening",
        "they build their house by the sea",
        "the wind blows hard over the hills",
        "everybody needs some rest after the trip",
        "she keeps her keys beside the door",
        "your uncle lives by himself",
        "there is much to see in this part of the country",
        "we know what they want",
        "nobody else was there",
    ),
    "ar": (
        "نمشي كل صباح على طول الشاطئ ونتحدث عن الكتب",
        "يلعب الأطفال في الحديقة الجميلة قرب البيت",
        "الطقس اليوم دافئ والسماء صافية",
    ),
    "bg": (
        "всяка сутрин се разхождаме край реката и говорим за книги",
        "децата играят в градината зад къщата",
        "днес времето е топло и небето е ясно",
    ),
    "bn": ("আমরা প্রতিদিন সকালে নদীর ধারে হাঁটি এবং বই নিয়ে কথা বলি", "শিশুরা বাড়ির পাশের বাগানে খেলা করে", "আজ আবহাওয়া গরম এবং আকাশ পরিষ্কার"),
    "de": (
        "wir gehen jeden Morgen am Fluss entlang und sprechen über Bücher",
        "die Kinder spielen im Garten hinter dem Haus",
        "heute ist das Wetter warm und der Himmel ist klar",
    ),
    "fa": (
        "ما هر روز صبح کنار رودخانه قدم می‌زنیم و درباره کتاب‌ها گفتگو می‌کنیم",
        "بچه‌ها در باغ پشت خانه بازی می‌کنند",
        "امروز هوا گرم است و آسمان صاف است",
    ),
    "fi": (
        "kävelemme joka aamu joen rantaa pitkin ja puhumme kirjoista",
        "lapset leikkivät puutarhassa talon takana",
        "tänään sää on lämmin ja taivas on kirkas",
    ),
    "gu": (
        "અમે દરરોજ સવારે નદી કિનારે ચાલીએ છીએ અને પુસ્તકો વિશે વાત કરીએ છીએ",
        "બાળકો ઘરની પાછળના બગીચામાં રમે છે",
        "આજે હવામાન ગરમ છે અને આકાશ સ્વચ્છ છે",
    ),
    "hi": (
        "हम हर सुबह नदी के किनारे टहलते हैं और किताबों के बारे में बात करते हैं",
        "बच्चे घर के पीछे बगीचे में खेलते हैं",
        "आज मौसम गर्म है और आसमान साफ है",
    ),
    "it": (
        "ogni mattina camminiamo lungo il fiume e parliamo di libri",
        "i bambini giocano nel giardino dietro la casa",
        "oggi il tempo è caldo e il cielo è sereno",
    ),
    "kn": ("ನಾವು ಪ್ರತಿದಿನ ಬೆಳಿಗ್ಗೆ ನದಿಯ ದಡದಲ್ಲಿ ನಡೆಯುತ್ತೇವೆ ಮತ್ತು ಪುಸ್ತಕಗಳ ಬಗ್ಗೆ ಮಾತನಾಡುತ್ತೇವೆ", "ಮಕ್ಕಳು ಮನೆಯ ಹಿಂದಿನ ತೋಟದಲ್ಲಿ ಆಡುತ್ತಾರೆ", "ಇಂದು ಹವಾಮಾನ ಬೆಚ್ಚಗಿದೆ"),
    "ko": (
        "우리는 매일 아침 강을 따라 걸으며 책에 대해 이야기합니다",
        "아이들은 집 뒤 정원에서 놀고 있습니다",
        "오늘은 날씨가 따뜻하고 하늘이 맑습니다",
    ),
    "mr": (
        "आम्ही रोज सकाळी नदीकाठी फिरतो आणि पुस्तकांविषयी बोलतो",
        "मुले घराच्या मागच्या बागेत खेळत आहेत",
        "आज हवामान उबदार आहे आणि आकाश स्वच्छ आहे",
    ),
    "ne": (
        "हामी हरेक बिहान नदीको किनारमा हिँड्छौँ र किताबहरूको बारेमा कुरा गर्छौँ",
        "बच्चाहरू घर पछाडिको बगैँचामा खेलिरहेका छन्",
        "आज मौसम न्यानो छ र आकाश सफा छ",
    ),
    "pa": ("ਅਸੀਂ ਹਰ ਸਵੇਰ ਨਦੀ ਦੇ ਕਿਨਾਰੇ ਤੁਰਦੇ ਹਾਂ ਅਤੇ ਕਿਤਾਬਾਂ ਬਾਰੇ ਗੱਲ ਕਰਦੇ ਹਾਂ", "ਬੱਚੇ ਘਰ ਦੇ ਪਿੱਛੇ ਬਾਗ ਵਿੱਚ ਖੇਡਦੇ ਹਨ", "ਅੱਜ ਮੌਸਮ ਗਰਮ ਹੈ ਅਤੇ ਅਸਮਾਨ ਸਾਫ਼ ਹੈ"),
    "pt": (
        "todas as manhãs caminhamos ao longo do rio e falamos sobre livros",
        "as crianças brincam no jardim atrás da casa",
        "hoje o tempo está quente e o céu está limpo",
    ),
    "ru": (
        "каждое утро мы гуляем вдоль реки и говорим о книгах",
        "дети играют в саду за домом",
        "сегодня погода тёплая и небо ясное",
    ),
    "sw": (
        "kila asubuhi tunatembea kando ya mto na kuzungumza kuhusu vitabu",
        "watoto wanacheza katika bustani nyuma ya nyumba",
        "leo hali ya hewa ni ya joto na anga ni safi",
    ),
    "ta": (
        "நாங்கள் தினமும் காலையில் ஆற்றின் கரையில் நடக்கிறோம் புத்தகங்களைப் பற்றி பேசுகிறோம்",
        "குழந்தைகள் வீட்டின் பின்னால் உள்ள தோட்டத்தில் விளையாடுகிறார்கள்",
        "இன்று வானிலை வெப்பமாக உள்ளது",
    ),
    "te": (
        "మేము ప్రతిరోజూ ఉదయం నది ఒడ్డున నడుస్తాము మరియు పుస్తకాల గురించి మాట్లాడుతాము",
        "పిల్లలు ఇంటి వెనుక తోటలో ఆడుకుంటున్నారు",
        "ఈ రోజు వాతావరణం వెచ్చగా ఉంది",
    ),
    "th": ("ทุกเช้าเราเดินเลียบแม่น้ำและพูดคุยเกี่ยวกับหนังสือ", "เด็กๆ กำลังเล่นอยู่ในสวนหลังบ้าน", "วันนี้อากาศอบอุ่นและท้องฟ้าแจ่มใส"),
    "ur": (
        "ہم ہر صبح دریا کے کنارے چلتے ہیں اور کتابوں کے بارے میں بات کرتے ہیں",
        "بچے گھر کے پیچھے باغ میں کھیل رہے ہیں",
        "آج موسم گرم ہے اور آسمان صاف ہے",
    ),
    "vi": (
        "mỗi buổi sáng chúng tôi đi dạo dọc bờ sông và nói chuyện về sách",
        "bọn trẻ đang chơi trong khu vườn sau nhà",
        "hôm nay thời tiết ấm áp và bầu trời trong xanh",
    ),
}

# For each letter a word that has it, twice or more where there is one.
RICH = {
    "a": "banana", "b": "bubble", "c": "cyclic", "d": "added", "e": "between", "f": "fluffy", "g": "giggle",
    "h": "high", "i": "infinite", "j": "jujube", "k": "kick", "l": "lullaby", "m": "mammal", "n": "announcing",
    "o": "cocoon", "p": "puppy", "q": "queen", "r": "mirror", "s": "assess", "t": "tattoo", "u": "unusual",
    "v": "vivid", "w": "wow", "x": "exact", "y": "yearly", "z": "puzzle",
}  # fmt: skip
